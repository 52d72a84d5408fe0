"""Credentials: which environment variables there are, which of them make a login, and how it is done."""

from __future__ import annotations

import base64
import contextlib
import re
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Self
from urllib.parse import urlsplit
from xml.parsers.expat import ExpatError

import requests
from pydantic import BaseModel, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from attribution.errors import UsageError
from attribution.sync.failures import Failure, Kind
from attribution.sync.session import Grant

__all__ = ["Connection", "Environment", "Login", "login_for"]

_WAYS: Final = (
    "set SALESFORCE_INSTANCE_URL and SALESFORCE_ACCESS_TOKEN; or SALESFORCE_DOMAIN, SALESFORCE_CLIENT_ID and "
    "SALESFORCE_CLIENT_SECRET; or SALESFORCE_CLIENT_ID, SALESFORCE_USERNAME and SALESFORCE_PRIVATE_KEY_FILE"
)
_HOST: Final = re.compile(r"[0-9A-Za-z]([0-9A-Za-z.-]{0,250}[0-9A-Za-z])?|[0-9a-f:.]{2,45}")
"""A name or an address of a machine."""
_LAST_SOAP_VERSION: Final = 64.0


class Connection(BaseModel):
    """Everything that a connection to Salesforce can be told."""

    salesforce_instance_url: str | None = None
    salesforce_access_token: SecretStr | None = None
    salesforce_domain: str | None = None
    salesforce_login_url: str | None = None
    salesforce_client_id: str | None = None
    salesforce_client_secret: SecretStr | None = None
    salesforce_username: str | None = None
    salesforce_private_key_file: Path | None = None
    salesforce_password: SecretStr | None = None
    salesforce_security_token: SecretStr | None = None
    salesforce_api_version: str = "59.0"
    attribution_retry_base_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5
    attribution_bulk_poll_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5

    @classmethod
    def of(cls, **values: object) -> Self:
        """Check the values; one that cannot be read is named in the error, without its content."""
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            raise UsageError(f"{str(first['loc'][0]).upper()}: {first['msg']}") from None


class Environment(Connection, BaseSettings):
    """The same from environment variables of these names; an empty one is as good as none."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore")


@dataclass(frozen=True, slots=True, repr=False)
class Login:
    """One way to obtain a session, and what of it must stay secret."""

    host: str
    """Where the login happens, or where the organization lives if the token is given."""
    obtain: Callable[[requests.Session], Grant]
    secrets: tuple[str, ...]
    can_renew: bool


def login_for(connection: Connection) -> Login:
    """Choose the login that the given values make; they are checked, nothing is sent.

    Raises
    ------
    UsageError
        Naming the variable that is missing, or that is not an https address.
    """
    if not re.fullmatch(r"\d{2,3}\.0", connection.salesforce_api_version):
        raise UsageError(
            f"SALESFORCE_API_VERSION is {connection.salesforce_api_version!r}", hint="it looks like 59.0"
        )
    if connection.salesforce_access_token or connection.salesforce_instance_url:
        return _given_token(connection)
    if connection.salesforce_private_key_file:
        return _jwt_bearer(connection)
    if connection.salesforce_password or connection.salesforce_security_token:
        return _password(connection)
    if connection.salesforce_client_id or connection.salesforce_client_secret:
        return _client_credentials(connection)
    raise UsageError("SALESFORCE_INSTANCE_URL and SALESFORCE_ACCESS_TOKEN are not set", hint=_WAYS)


def _given_token(connection: Connection) -> Login:
    token = _secret(connection, "salesforce_access_token")
    host = _host(_text(connection, "salesforce_instance_url"), "SALESFORCE_INSTANCE_URL")
    return Login(host, lambda _: Grant(host, token), (token,), can_renew=False)


def _client_credentials(connection: Connection) -> Login:
    client_id = _text(connection, "salesforce_client_id")
    secret = _secret(connection, "salesforce_client_secret")
    host = _login_host(connection, default=None)
    basic = base64.b64encode(f"{client_id}:{secret}".encode()).decode()

    def obtain(session: requests.Session) -> Grant:
        return _token_login(
            session, host, {"grant_type": "client_credentials"}, {"Authorization": f"Basic {basic}"}
        )

    return Login(host, obtain, (secret, basic), can_renew=True)


def _jwt_bearer(connection: Connection) -> Login:
    client_id = _text(connection, "salesforce_client_id")
    username = _text(connection, "salesforce_username")
    file = connection.salesforce_private_key_file
    try:
        key = file.read_bytes() if file else b""
    except OSError as error:
        raise UsageError(
            f"SALESFORCE_PRIVATE_KEY_FILE cannot be read: {error.strerror}", hint="it names a PEM file"
        ) from error
    host = _login_host(connection, default="login.salesforce.com")

    def obtain(session: requests.Session) -> Grant:
        import jwt

        # the only use of the local clock: the assertion has to expire, and Salesforce allows three minutes
        claims = {"iss": client_id, "sub": username, "aud": f"https://{host}", "exp": int(time.time()) + 180}
        try:
            assertion = jwt.encode(claims, key, algorithm="RS256")
        except (ValueError, TypeError, jwt.PyJWTError) as error:
            raise UsageError(
                "SALESFORCE_PRIVATE_KEY_FILE holds no RSA private key that can be read",
                hint="it is a PEM file, and not encrypted",
            ) from error
        grant_type = "urn:ietf:params:oauth:grant-type:jwt-bearer"
        return _token_login(session, host, {"grant_type": grant_type, "assertion": assertion}, None)

    return Login(host, obtain, (), can_renew=True)


def _password(connection: Connection) -> Login:
    username = _text(connection, "salesforce_username")
    password = _secret(connection, "salesforce_password")
    security_token = _secret(connection, "salesforce_security_token")
    host = _login_host(connection, default="login.salesforce.com")
    version = connection.salesforce_api_version
    if float(version) > _LAST_SOAP_VERSION:
        raise UsageError(
            f"SALESFORCE_API_VERSION {version} has no login with password and security token",
            hint="use 64.0 or lower, or better a connected app with client credentials",
        )
    warnings.warn(
        "Salesforce retires this login in 2027: use client credentials or JWT instead of a security token",
        FutureWarning,
        stacklevel=4,
    )

    def obtain(session: requests.Session) -> Grant:
        from simple_salesforce.login import SalesforceLogin

        def login() -> tuple[str, str]:
            return SalesforceLogin(
                username=username,
                password=password,
                security_token=security_token,
                sf_version=version,
                session=session,
                scratch_url=f"https://{host}",
            )

        return _granted(login)

    return Login(host, obtain, (password, security_token), can_renew=True)


def _token_login(
    session: requests.Session, host: str, form: dict[str, str], headers: dict[str, str] | None
) -> Grant:
    from simple_salesforce.login import token_login

    url = f"https://{host}/services/oauth2/token"
    return _granted(lambda: token_login(url, form, host, "", headers, None, session))


def _granted(login: Callable[[], tuple[str, str]]) -> Grant:
    """The session that a login of simple-salesforce gives; refusals have been told by the wire before."""
    from simple_salesforce.exceptions import SalesforceAuthenticationFailed

    token = instance = None
    # a good status, yet no document: not even the cause of an error may repeat it, for it may hold a token
    with contextlib.suppress(SalesforceAuthenticationFailed, AttributeError, ExpatError, RecursionError):
        token, instance = login()
    if not (isinstance(token, str) and token and isinstance(instance, str) and instance):
        raise Failure(Kind.TRANSIENT, "garbled answer", "no session in it")
    return Grant(instance.rstrip("/"), token)


def _login_host(connection: Connection, default: str | None) -> str:
    if connection.salesforce_login_url:
        return _host(connection.salesforce_login_url, "SALESFORCE_LOGIN_URL")
    domain = connection.salesforce_domain
    if not domain:
        if default:
            return default
        raise UsageError("SALESFORCE_DOMAIN is not set", hint="My Domain, such as acme.my")
    if "://" in domain or domain.endswith(".salesforce.com"):
        return _host(domain if "://" in domain else f"https://{domain}", "SALESFORCE_DOMAIN")
    if domain not in ("login", "test") and not domain.endswith(".my"):
        domain = f"{domain}.my"
    return f"{domain}.salesforce.com"


def _host(url: str, variable: str) -> str:
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        is_address = parts.port is None or parts.port > 0
    except ValueError:
        raise _no_address(variable) from None
    if parts.scheme != "https":
        raise UsageError(f"{variable} begins with {parts.scheme}://", hint="only https:// is spoken")
    if not is_address or parts.username is not None or not _HOST.fullmatch(parts.hostname or ""):
        raise _no_address(variable)
    return parts.netloc


def _no_address(variable: str) -> UsageError:
    return UsageError(f"{variable} is no address", hint="it looks like https://acme.my.salesforce.com")


def _text(connection: Connection, name: str) -> str:
    value = getattr(connection, name)
    if not value:
        raise UsageError(f"{name.upper()} is not set", hint=_WAYS)
    return str(value)


def _secret(connection: Connection, name: str) -> str:
    value = getattr(connection, name)
    secret: str = value.get_secret_value().strip() if value else ""
    if not secret:
        raise UsageError(f"{name.upper()} is not set", hint=_WAYS)
    if not (secret.isascii() and secret.isprintable()):
        # it would not fit into a header, and the error about that would show it
        raise UsageError(f"{name.upper()} has characters that no credential has", hint="copy it again, whole")
    return secret
