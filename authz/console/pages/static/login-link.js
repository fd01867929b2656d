// The token of a login link is the fragment of the address. It is sent once, as a form, and leaves
// the address and the history before that.
"use strict";

const token = location.hash.slice(1);
if (token) {
  history.replaceState(null, "", location.pathname);
  document.getElementById("f-token").value = token;
  document.getElementById("login-link").requestSubmit();
}
