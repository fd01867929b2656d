"""Records of usage for billing: closed hours, and the differences that come later."""
