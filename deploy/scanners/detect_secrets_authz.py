"""A plugin for detect-secrets, written by `authz scan --rules detect-secrets`."""

import re

from detect_secrets.plugins.base import RegexBasedDetector


class AuthzKeyDetector(RegexBasedDetector):
    """An API key that was made by authz."""

    secret_type = "authz API key"
    denylist = (re.compile(r"ak_(?:live|test)_[0-9A-Za-z]{16}_[0-9A-Za-z]{61}"),)
