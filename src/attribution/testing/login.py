"""OAuth of the org: client credentials and JWT bearer, and which access tokens are good."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import jwt

from attribution.testing.messages import Request, Response, as_json

if TYPE_CHECKING:
    from attribution.testing.org import Org

__all__ = ["Login"]


class Login:
    """The sessions of an org. Keys and tokens are random and made at start."""

    def __init__(self, org: Org) -> None:
        self._org = org
        self._tokens: set[str] = set()
        self._keys: list[str] = []
        self.client_id = secrets.token_urlsafe(24)
        self.client_secret = secrets.token_hex(16)
        self.token = self._issue()

    def _issue(self) -> str:
        token = f"{self._org.id[:15]}!{secrets.token_urlsafe(48)}"
        self._tokens.add(token)
        return token

    def trust(self, public_key: str) -> None:
        """Accept assertions that this key (PEM) verifies."""
        self._keys.append(public_key)

    def expire(self) -> None:
        """End all sessions and open a new one for ``token``."""
        self._tokens.clear()
        self.token = self._issue()

    def accepts(self, authorization: str) -> bool:
        """Whether an Authorization header carries a good token."""
        scheme, _, token = authorization.partition(" ")
        return scheme.lower() in ("bearer", "oauth") and token in self._tokens

    def answer(self, request: Request) -> Response:
        """Answer ``/services/oauth2/token``."""
        if request.method != "POST":
            return _refusal("invalid_request", "must use HTTP POST")
        form = dict(parse_qsl(request.body.decode("utf-8", "replace")))
        grant = form.get("grant_type")
        if grant == "client_credentials":
            return self._client_credentials(request, form)
        if grant == "urn:ietf:params:oauth:grant-type:jwt-bearer":
            return self._assertion(form.get("assertion", ""))
        return _refusal("unsupported_grant_type", "grant type not supported")

    def _client_credentials(self, request: Request, form: dict[str, str]) -> Response:
        client, secret = form.get("client_id", ""), form.get("client_secret", "")
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                client, _, secret = base64.b64decode(encoded).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                return _refusal("invalid_client", "invalid client credentials")
        if not hmac.compare_digest(client.encode(), self.client_id.encode()):
            return _refusal("invalid_client_id", "client identifier invalid")
        if not hmac.compare_digest(secret.encode(), self.client_secret.encode()):
            return _refusal("invalid_client", "invalid client credentials")
        return self._session()

    def _assertion(self, assertion: str) -> Response:
        # the expiry is not checked: it is of the caller's clock, not of the org's
        options: Any = {"verify_aud": False, "verify_exp": False, "require": ["iss", "sub", "aud", "exp"]}
        for key in self._keys:
            try:
                claims = jwt.decode(assertion, key, algorithms=["RS256"], options=options)
            except jwt.InvalidSignatureError:
                continue
            except jwt.InvalidTokenError as error:
                return _refusal("invalid_grant", f"invalid assertion: {error}")
            if claims["iss"] != self.client_id:
                return _refusal("invalid_client_id", "client identifier invalid")
            return self._session()
        return _refusal("invalid_grant", "invalid assertion")

    def _session(self) -> Response:
        return as_json(
            {
                "access_token": self._issue(),
                "instance_url": self._org.url,
                "id": f"{self._org.url}/id/{self._org.id}/{self._org.state.user_id}",
                "token_type": "Bearer",
                "scope": "api",
                "issued_at": str(int(self._org.now.timestamp() * 1000)),
                "signature": base64.b64encode(secrets.token_bytes(32)).decode(),
            }
        )


def _refusal(error: str, description: str) -> Response:
    return as_json({"error": error, "error_description": description}, 400)
