"""Sign in and out, the first account, and the admin's work on accounts and tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass

from starlette.responses import JSONResponse, RedirectResponse, Response

from glancein.errors import InputError
from glancein.web.access import Permission, Role
from glancein.web.accounts import ABSOLUTE_S
from glancein.web.desk.desk import Desk
from glancein.web.desk.page import Pages
from glancein.web.security import SESSION_COOKIE, Call, refused


@dataclass(frozen=True, slots=True)
class Signing:
    """The routes about who is at the desk."""

    desk: Desk
    pages: Pages

    def sign_in_page(self, call: Call) -> Response:
        """The form; the first-run set-up while there is no account."""
        if self.desk.accounts.is_new:
            return RedirectResponse("/setup", 303)
        if call.who.is_known:
            return RedirectResponse("/", 303)
        return self.pages.show(call, "sign_in.html")

    def setup_page(self, call: Call) -> Response:
        """The form for an admin with the setup code; gone once it is used."""
        if not self.desk.accounts.takes_admin:
            return RedirectResponse("/sign-in", 303)
        return self.pages.show(call, "setup.html")

    def sign_in(self, call: Call) -> Response:
        """A session for a right name and password; after some failures both the name and the address wait."""
        name, keys = call.fields["name"], self._keys(call)
        if (wait_s := self.desk.throttle.wait_s(*keys)) > 0:
            later = refused(429, f"too many wrong passwords: try again in {math.ceil(wait_s / 60)} minutes")
            later.headers["retry-after"] = str(int(wait_s) + 1)
            return later
        self.desk.throttle.failed(*keys)  # counted before it is looked at: many at once come no cheaper
        secret = self.desk.accounts.sign_in(name, call.fields["password"])
        if secret is None:
            self.desk.audit.note("somebody", "sign-in refused", about=name)
            return refused(401, "wrong name or password")
        self.desk.throttle.succeeded(*keys)
        self.desk.audit.note(name, "signed in")
        answer = JSONResponse({"next": "/"})
        answer.set_cookie(
            SESSION_COOKIE,
            secret,
            max_age=ABSOLUTE_S,
            httponly=True,
            samesite="strict",
            secure=call.is_tls,
        )
        return answer

    def set_up(self, call: Call) -> Response:
        """Make an admin with the code from the console."""
        keys = ("setup", *self._keys(call)[1:])
        if self.desk.throttle.wait_s(*keys) > 0:
            return refused(429, "too many wrong codes: try again in 15 minutes")
        if call.fields["password"] != call.fields["again"]:
            raise InputError("the two passwords differ")
        name, code = call.fields["name"], call.fields["code"]
        self.desk.throttle.failed(*keys)  # counted before it is looked at, as above
        self.desk.accounts.check_setup_code(code)
        self.desk.throttle.succeeded(*keys)  # a bad name or password is no guess at the code
        with self.desk.audit.noting(name, "set up the desk"):
            self.desk.accounts.set_up(code, name, call.fields["password"])
        return JSONResponse({"next": "/sign-in"}, 201)

    def sign_out(self, call: Call) -> Response:
        """End this session."""
        with self.desk.audit.noting(call.who.name, "signed out"):
            self.desk.accounts.sign_out(call.who.secret)
        answer = JSONResponse({"next": "/sign-in"})
        answer.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict", secure=call.is_tls)
        return answer

    def change_own_password(self, call: Call) -> Response:
        """Set another password, knowing the old one; every session of the account ends."""
        if call.fields["password"] != call.fields["again"]:
            raise InputError("the two passwords differ")
        keys = (f"name {call.who.name}",)
        if self.desk.throttle.wait_s(*keys) > 0:
            return refused(429, "too many wrong passwords: try again in 15 minutes")
        self.desk.throttle.failed(*keys)
        secret = self.desk.accounts.sign_in(call.who.name, call.fields["old"])
        if secret is None:
            return refused(403, "the old password is wrong")
        self.desk.throttle.succeeded(*keys)
        with self.desk.audit.noting(call.who.name, "changed own password"):
            self.desk.accounts.change_password(call.who.name, call.fields["password"])
        return JSONResponse({"next": "/sign-in"})

    def me_page(self, call: Call) -> Response:
        """One's own account: the password."""
        return self.pages.show(call, "me.html")

    def accounts_page(self, call: Call) -> Response:
        """Accounts and tokens."""
        desk = self.desk
        context = {
            "accounts": desk.accounts.accounts(),
            "tokens": desk.accounts.tokens(),
            "roles": list(Role),
            "scopes": sorted(Permission),
        }
        return self.pages.show(call, "accounts.html", context)

    def accounts(self, _: Call) -> Response:
        """Every account: name, role, when it was made."""
        rows = [
            {"name": a.name, "role": a.role.value, "made_at": a.made_at}
            for a in self.desk.accounts.accounts()
        ]
        return JSONResponse({"accounts": rows})

    def add_account(self, call: Call) -> Response:
        """Make an account."""
        try:
            role = Role(call.fields["role"])
        except ValueError:
            raise InputError(f"a role is one of {', '.join(Role)}") from None
        name = call.fields["name"]
        with self.desk.audit.noting(call.who.name, "made an account", about=name, detail=role.value):
            self.desk.accounts.add(name, call.fields["password"], role=role)
        return JSONResponse({"name": name, "role": role.value}, 201)

    def remove_account(self, call: Call) -> Response:
        """Take an account and its sessions away."""
        name = call.request.path_params["name"]
        with self.desk.audit.noting(call.who.name, "removed an account", about=name):
            self.desk.accounts.remove(name)
        return JSONResponse({"removed": name})

    def tokens(self, _: Call) -> Response:
        """Every integration's token without its secret."""
        rows = [
            {
                "number": token.number,
                "name": token.name,
                "scopes": sorted(token.scopes),
                "made_by": token.made_by,
                "made_at": token.made_at,
                "used_at": token.used_at,
                "revoked_at": token.revoked_at,
            }
            for token in self.desk.accounts.tokens()
        ]
        return JSONResponse({"tokens": rows})

    def add_token(self, call: Call) -> Response:
        """Make a token; the answer holds its secret, this once."""
        try:
            scopes = frozenset(Permission(word) for word in call.fields["scopes"].replace(",", " ").split())
        except ValueError:
            raise InputError(f"a scope is one of {', '.join(Permission)}") from None
        name, opens = call.fields["name"], " ".join(sorted(scopes))
        with self.desk.audit.noting(call.who.name, "made a token", about=name, detail=opens):
            raw = self.desk.accounts.make_token(name, scopes, by=call.who.name)
        return JSONResponse({"token": raw, "scopes": sorted(scopes)}, 201)

    def revoke_token(self, call: Call) -> Response:
        """Make a token worthless."""
        number = _token_number(call.request.path_params["number"])
        with self.desk.audit.noting(call.who.name, "revoked a token", about=str(number)):
            self.desk.accounts.revoke_token(number)
        return JSONResponse({"revoked": number})

    def _keys(self, call: Call) -> tuple[str, str]:
        client = call.request.client
        return f"name {call.fields['name'][:64].lower()}", f"from {client.host if client else ''}"


def _token_number(text: str) -> int:
    """Raises InputError for what is no number, and for one that no database holds."""
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise InputError(f"there is no token {text[:20]}")
    return int(text)
