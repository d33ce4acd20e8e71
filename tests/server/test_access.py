"""Who may talk to the server: TLS, client certificates, tokens, and the rule of loopback."""

from __future__ import annotations

import asyncio
import base64
import datetime
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from served import Served

from isthmus.errors import ConfigError, UnauthorizedError
from isthmus.server.access import Tokens, check_exposure, tls_context
from isthmus.server.config import SecurityConfig, ServerConfig, load_config
from isthmus.server.dashboard import dashboard_routes
from isthmus.server.grpc_oip import serve_grpc
from isthmus.server.http import HttpServer
from isthmus.server.http_oip import oip_routes
from isthmus.server.protocol import open_inference_pb2 as pb
from isthmus.server.service import Service

TOKEN = "a-token-of-an-operator-27"
NOW = datetime.datetime.now(datetime.UTC)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """A certificate authority; every certificate is written as ``NAME.pem`` and ``NAME.key``."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name(name)
        builder = self._builder(self.name, self.key, NOW + datetime.timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), False
        )
        builder = builder.add_extension(
            x509.KeyUsage(
                digital_signature=False, content_commitment=False, key_encipherment=False,
                data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
                encipher_only=False, decipher_only=False,
            ),
            True,
        )  # fmt: skip
        self.file = folder / f"{name}.pem"
        signed = builder.sign(self.key, hashes.SHA256())
        self.file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def _builder(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, until: datetime.datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - datetime.timedelta(days=2))
            .not_valid_after(until)
        )

    def issue(self, name: str, *, server: bool = False, days: float = 1) -> tuple[Path, Path]:
        """A certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = self._builder(_name(name), key, NOW + datetime.timedelta(days=days))
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), False)
        names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False
        )
        signed = builder.sign(self.key, hashes.SHA256())
        file, secret = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )  # fmt: skip
        return file, secret


@dataclass(frozen=True)
class Papers:
    """Certificates: the server's, and those of clients who may and who may not."""

    authority: Path
    server: tuple[Path, Path]
    clients: dict[str, tuple[Path, Path]]


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    folder = tmp_path_factory.mktemp("papers")
    ours, other = Authority(folder, "ours"), Authority(folder, "other")
    clients = {
        "right": ours.issue("board"),
        "of another authority": other.issue("stranger"),
        "expired": ours.issue("old", days=-1),
        "for servers": ours.issue("posing", server=True),
    }
    return Papers(ours.file, ours.issue("server", server=True), clients)


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    file = tmp_path / "tokens"
    file.write_text(f"# operators\n\n{TOKEN}\n  another-token-of-16  \n")
    return file


def run(
    digits: Served, security: dict[str, Any], body: Callable[[Service, int, int], Awaitable[None]]
) -> None:
    """``body`` with a server's HTTP and gRPC ports."""

    @asynccontextmanager
    async def serving() -> AsyncIterator[tuple[Service, int, int]]:
        security_ = {k: str(v) for k, v in security.items()}
        config = load_config(
            None, bundles=[{"path": str(digits.path)}], http={"port": 0}, grpc={"port": 0},
            security=security_, batch={"workers": 1}, drain_s=1.0,
        )  # fmt: skip
        service = Service(config)
        await service.start()
        server = HttpServer(service)
        task = asyncio.create_task(server.serve())
        file = config.security.tokens_file
        guard = None if file is None else Tokens(file)
        calls = await serve_grpc(service, config.grpc, config.security, guard)
        try:
            yield service, server.port, calls.port
        finally:
            await calls.aclose(0.0)
            server.stop()
            await asyncio.wait_for(task, 10)
            service.close()

    async def main() -> None:
        async with serving() as (service, http, rpc):
            await asyncio.wait_for(body(service, http, rpc), 30)

    asyncio.run(main())


def client_context(papers: Papers, shown: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=papers.authority)
    if shown:
        context.load_cert_chain(*papers.clients[shown])
    return context


async def infer_grpc(port: int, frame: bytes, credentials: Any = None) -> Any:
    """ModelInfer, with TLS where there are credentials."""
    address = f"127.0.0.1:{port}"
    if credentials is None:
        channel = grpc.aio.insecure_channel(address)
    else:
        channel = grpc.aio.secure_channel(address, credentials)
    async with channel:
        return await rpc(channel, "ModelInfer", infer_message(frame))


async def rpc(channel: Any, name: str, message: Any, metadata: Any = None) -> Any:
    call = channel.unary_unary(
        f"/inference.GRPCInferenceService/{name}",
        request_serializer=lambda one: one.SerializeToString(),
        response_deserializer=getattr(pb, f"{name}Response").FromString,
    )
    return await call(message, timeout=10, metadata=metadata)


def infer_message(frame: bytes) -> Any:
    message = pb.ModelInferRequest(model_name="digits")
    tensor = message.inputs.add(name="bitstream", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(frame)
    return message


def test_tls_is_for_those_who_know_the_authority(digits: Served, papers: Papers) -> None:
    certificate, key = papers.server

    async def body(service: Service, http: int, calls: int) -> None:
        url = f"https://127.0.0.1:{http}/v2/models/digits/frames"
        async with httpx.AsyncClient(verify=client_context(papers)) as client:
            answer = await client.post(url, content=digits.frames[2])
            assert (answer.status_code, answer.json()["sequence"]) == (200, 2)
        async with httpx.AsyncClient() as client:  # the public authorities
            with pytest.raises(httpx.ConnectError):
                await client.get(url)
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.HTTPError):
                await client.get(url.replace("https", "http"))
        roots = papers.authority.read_bytes()
        found = await infer_grpc(calls, digits.frames[1], grpc.ssl_channel_credentials(roots))
        assert found.model_name == "digits"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await infer_grpc(calls, digits.frames[1])
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE

    run(digits, {"certificate": certificate, "key": key}, body)
    context = tls_context(SecurityConfig(certificate=certificate, key=key))
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_client_shows_the_right_certificate(digits: Served, papers: Papers) -> None:
    certificate, key = papers.server
    security = {"certificate": certificate, "key": key, "client_ca": papers.authority}

    async def body(service: Service, http: int, calls: int) -> None:
        url = f"https://127.0.0.1:{http}/v2/health/live"
        roots = papers.authority.read_bytes()
        for shown in ("", *papers.clients):
            context = client_context(papers, shown)
            pair = [file.read_bytes() for file in papers.clients.get(shown, ())]
            credentials = grpc.ssl_channel_credentials(roots, *reversed(pair))
            async with httpx.AsyncClient(verify=context) as client:
                if shown == "right":
                    assert (await client.get(url)).status_code == 200
                    found = await infer_grpc(calls, digits.frames[0], credentials)
                    assert found.model_name == "digits"
                    continue
                with pytest.raises(httpx.HTTPError):
                    await client.get(url)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await infer_grpc(calls, digits.frames[0], credentials)
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert service.monitor.state()["frames"] == 1

    run(digits, security, body)


FREE = {"/", "/page/{name}", "/v2/health/live", "/v2/health/ready"}


def test_every_route_but_health_and_the_page_wants_a_token(digits: Served, tokens: Path) -> None:
    """All routes that there are, so that one added later is not forgotten."""
    wrong = [
        {}, {"authorization": "Bearer"}, {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Bearer {TOKEN[:-1]}"}, {"authorization": TOKEN},
        {"authorization": f"Token {TOKEN}"}, {"authorization": "Basic !!"},
        {"authorization": "Bearer # operators"}, {"x-authorization": f"Bearer {TOKEN}"},
    ]  # fmt: skip

    async def body(service: Service, http: int, calls: int) -> None:
        routes = [*oip_routes(service), *dashboard_routes(service, service.monitor)]
        version = service.fleet.models()[0].version
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{http}") as client:
            guarded = 0
            for route in routes:
                path = route.path.replace("{name}", "digits").replace("{version}", version)
                method = "POST" if "POST" in (route.methods or ()) else "GET"
                statuses = set()
                for headers in wrong:
                    answer = await client.request(method, path, headers=headers)
                    statuses.add(answer.status_code)
                if route.path in FREE:
                    assert 401 not in statuses, path
                    continue
                assert statuses == {401}, path
                assert "Bearer" in answer.headers["www-authenticate"]
                guarded += 1
                right = {"authorization": f"bEARER {TOKEN}"}
                answer = await client.request(method, path, headers=right)
                assert answer.status_code != 401, path
            assert guarded >= 14
            secret = base64.b64encode(b"me:another-token-of-16").decode()
            answer = await client.get("/metrics", headers={"authorization": f"Basic {secret}"})
            assert answer.status_code == 200
            for path in (
                "//metrics", "/page/../metrics", "/page/%2e%2e/metrics", "/%6d%65trics",
                "/metrics/", "/page/..%2fmetrics", "/./metrics", "/v2/models/digits/", "/METRICS",
                "/v2/models/digits/frames", "/v2//models",
            ):  # fmt: skip
                raw = httpx.URL(f"http://127.0.0.1:{http}").copy_with(raw_path=path.encode())
                for method in ("GET", "POST", "HEAD", "OPTIONS"):
                    answer = await client.request(method, raw)
                    assert answer.status_code in (401, 404, 405), (method, path)
                    assert b"isthmus_frames" not in answer.content

    run(digits, {"tokens_file": tokens}, body)


def test_boards_that_sign_need_no_token_for_frames(
    digits: Served, tokens: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("ab" * 32)
    secret.chmod(0o600)
    security = {
        "tokens_file": tokens, "fleet_secret_file": secret, "replay_file": tmp_path / "replay.db"
    }  # fmt: skip

    async def body(service: Service, http: int, calls: int) -> None:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{http}") as client:
            for path in ("/v2/frames", "/v2/models/digits/frames"):
                answer = await client.post(path, content=digits.frames[0])
                assert answer.status_code != 401
                assert answer.json()["error"]["name"] == "seal"
                assert (await client.get(path)).status_code == 401
            for path in ("/v2/models/digits/infer", "/v2/infer/frames/x"):
                assert (await client.post(path, content=b"")).status_code == 401
            assert (await client.get("/v2/models/frames")).status_code == 401

    run(digits, security, body)


def test_grpc_wants_a_token_for_all_but_health(digits: Served, tokens: Path) -> None:
    async def body(service: Service, http: int, calls: int) -> None:
        messages = {
            "ServerMetadata": pb.ServerMetadataRequest(),
            "ModelMetadata": pb.ModelMetadataRequest(name="digits"),
            "ModelReady": pb.ModelReadyRequest(name="digits"),
            "ModelInfer": infer_message(digits.frames[0]),
        }
        async with grpc.aio.insecure_channel(f"127.0.0.1:{calls}") as channel:
            assert (await rpc(channel, "ServerLive", pb.ServerLiveRequest())).live
            assert (await rpc(channel, "ServerReady", pb.ServerReadyRequest())).ready
            for name, message in messages.items():
                for value in (None, "Bearer", f"Bearer {TOKEN}x", TOKEN):
                    metadata = None if value is None else (("authorization", value),)
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await rpc(channel, name, message, metadata)
                    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
                await rpc(channel, name, message, (("authorization", f"Bearer {TOKEN}"),))
            assert service.monitor.state()["frames"] == 1

    run(digits, {"tokens_file": tokens}, body)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "holds no token"), ("# nothing\n\n", "holds no token"), ("short\n", "too short"),
        (f"{TOKEN}\nshort\n", "too short"), ("x" * (1 << 20) + "y", "too long"), (None, "read"),
    ],
)  # fmt: skip
def test_a_file_of_tokens_that_is_none(tmp_path: Path, content: str | None, what: str) -> None:
    file = tmp_path / "tokens"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=what):
        Tokens(file)


def test_no_token_is_what_is_empty(tokens: Path) -> None:
    known = Tokens(tokens)
    known.check(f"Bearer {TOKEN}".encode())
    for given in (None, b"", b"Bearer ", b"Basic Og==", b"# operators", b"Bearer \xff"):
        with pytest.raises(UnauthorizedError):
            known.check(given)


def test_certificates_that_are_none(papers: Papers, tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    certificate, key = papers.server
    for pair in ((junk, key), (certificate, junk), (certificate, tmp_path / "none")):
        with pytest.raises(ConfigError, match="security"):
            tls_context(SecurityConfig(certificate=pair[0], key=pair[1]))
    for fields in (
        {"certificate": str(certificate)}, {"key": str(key)}, {"client_ca": str(certificate)}
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            load_config(None, security=fields)


LOOPBACK = ("127.0.0.1", "127.8.9.1", "::1", "localhost")
OPEN = ("0.0.0.0", "::", "192.168.1.5", "10.0.0.1", "fe80::1", "board.example", "", "0")


def config(**sections: Any) -> ServerConfig:
    return load_config(None, **sections)


@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback_is_for_everybody(host: str) -> None:
    check_exposure(config(http={"host": host}, grpc={"host": host}, udp={"host": host}))


@pytest.mark.parametrize("host", OPEN)
def test_the_world_is_not(host: str, tmp_path: Path) -> None:
    """Each link by itself; with keys of the right kind it may; or said in words."""
    here = str(tmp_path / "file")
    people = [{"tokens_file": here}, {"client_ca": here, "certificate": here, "key": here}]
    devices = [{"fleet_secret_file": here, "replay_file": here}]
    for link, right, wrong in (
        ("http", people, devices), ("grpc", people, devices), ("udp", devices, people),
    ):  # fmt: skip
        section = {link: {"host": host}}
        for security in ({}, *wrong):
            with pytest.raises(ConfigError, match="--allow-open") as caught:
                check_exposure(config(**section, security=security))
            assert caught.value.path == f"{link}.host"
        for security in right:
            check_exposure(config(**section, security=security))
        check_exposure(config(**section, security={"allow_open": True}))
        if link != "udp":
            check_exposure(config(**{link: {"host": host, "enabled": False}}))


def test_the_command_says_what_to_do(digits: Served) -> None:
    done = subprocess.run(
        [
            sys.executable, "-c", "from isthmus.cli import main; main()", "serve",
            str(digits.path), "--host", "0.0.0.0", "--port", "0", "--grpc-port", "-1",
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode not in (0, 1)
    assert "http.host: is 0.0.0.0" in done.stderr
    assert "--allow-open" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
