"""Who may talk to the server: where it may listen, and the bearer tokens of operators."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import ssl
from pathlib import Path

from isthmus.errors import ConfigError, UnauthorizedError
from isthmus.server.config import SecurityConfig, ServerConfig

__all__ = ["Tokens", "check_exposure", "read_file", "tls_context"]

_FILE_LIMIT = 1 << 20
_TOKEN_BYTES_MIN = 16


def read_file(path: Path, field: str) -> bytes:
    """A file named by the configuration, bounded; ConfigError."""
    try:
        with path.open("rb") as stream:
            data = stream.read(_FILE_LIMIT + 1)
    except OSError as error:
        raise ConfigError(f"{field}: {path}", f"cannot be read ({error.strerror})") from error
    if len(data) > _FILE_LIMIT:
        raise ConfigError(f"{field}: {path}", "is too long", allowed=f"{_FILE_LIMIT} bytes")
    return data


def is_loopback(host: str) -> bool:
    """Whether ``host`` is reached from this machine alone."""
    if host in ("localhost", ""):
        return host == "localhost"
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_exposure(config: ServerConfig) -> None:
    """ConfigError where a server without keys would listen to other machines.

    HTTP and gRPC need tokens or client certificates for that, UDP needs device keys.
    """
    security = config.security
    if security.allow_open:
        return
    people = security.tokens_file is not None or security.client_ca is not None
    links = [
        ("http.host", config.http.host, config.http.enabled, people),
        ("grpc.host", config.grpc.host, config.grpc.enabled, people),
    ]
    if config.udp is not None:
        links.append(("udp.host", config.udp.host, True, security.fleet_secret_file is not None))
    for field, host, enabled, guarded in links:
        if enabled and not guarded and not is_loopback(host):
            need = "device keys" if field == "udp.host" else "tokens or client certificates"
            raise ConfigError(
                field, f"is {host}, and there are no {need}", allowed="a loopback address",
                remedy=f"configure {need} ([security] in docs/server.md), or say --allow-open",
            )  # fmt: skip


def tls_context(security: SecurityConfig) -> ssl.SSLContext | None:
    """TLS as configured; with ``client_ca`` a certificate of the client is required."""
    if security.certificate is None or security.key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(security.certificate, security.key)
        if security.client_ca is not None:
            context.load_verify_locations(security.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            "security", f"the certificate cannot be used ({error.strerror or error})",
            remedy="give PEM files of a certificate chain and its key",
        ) from error  # fmt: skip
    return context


class Tokens:
    """The bearer tokens of operators: one a line, ``#`` starts a comment.

    Only their SHA-256 is kept; a token is compared with all of them in constant time.
    """

    def __init__(self, path: Path) -> None:
        lines = read_file(path, "security.tokens_file").splitlines()
        tokens = [line.strip() for line in lines if line.strip() and not line.startswith(b"#")]
        short = [token for token in tokens if len(token) < _TOKEN_BYTES_MIN]
        if not tokens or short:
            what = "has a token that is too short" if short else "holds no token"
            raise ConfigError(
                f"security.tokens_file: {path}", what,
                allowed=f"one token a line, {_TOKEN_BYTES_MIN} characters or more",
                remedy="make one with: python -c 'import secrets; print(secrets.token_urlsafe())'",
            )  # fmt: skip
        self._digests = [hashlib.sha256(token).digest() for token in tokens]

    def check(self, authorization: bytes | None) -> None:
        """UnauthorizedError unless an Authorization header's value carries one of the tokens.

        ``Bearer TOKEN``, or ``Basic`` with the token as password, which is what browsers ask for.
        """
        given = _token(authorization or b"")
        digest = hashlib.sha256(given).digest()
        known = [hmac.compare_digest(digest, one) for one in self._digests]
        if not any(known):
            raise UnauthorizedError(
                "header Authorization", "holds no valid token", allowed="Bearer TOKEN"
            )


def _token(authorization: bytes) -> bytes:
    scheme, _, rest = authorization.partition(b" ")
    if scheme.lower() == b"bearer":
        return rest.strip()
    if scheme.lower() == b"basic":
        try:
            return base64.b64decode(rest, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""
