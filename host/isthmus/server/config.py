"""The server's configuration: one validated object, from TOML and the command line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from isthmus.errors import ConfigError

__all__ = [
    "BackendConfig",
    "BatchConfig",
    "BundleConfig",
    "DashboardConfig",
    "GrpcConfig",
    "HttpConfig",
    "LimitsConfig",
    "LogConfig",
    "MqttConfig",
    "QuarantineConfig",
    "RayConfig",
    "SecurityConfig",
    "SerialConfig",
    "ServerConfig",
    "UdpConfig",
    "load_config",
]

Port = Annotated[int, Field(ge=0, le=65535)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BundleConfig(_Section):
    """A bundle: its directory, the model's name (default: the directory's) and a file of labels."""

    path: Path
    name: str = Field(default="", pattern=r"^[A-Za-z0-9_.-]{0,64}$")
    labels: Path | None = None


class HttpConfig(_Section):
    """REST, dashboard and metrics. Port 0 takes a free one.

    ``features`` also offers each back half alone, as model NAME.back, to servers that decode.
    """

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Port = 8080
    keep_alive_s: float = Field(default=75.0, gt=0)
    features: bool = False


class GrpcConfig(_Section):
    """Open Inference Protocol over gRPC."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Port = 8081


class MqttConfig(_Section):
    """MQTT 5: ROOT/BUNDLE/DEVICE/frames in, ROOT/BUNDLE/DEVICE/results out."""

    host: str = Field(min_length=1)
    port: Port = 1883
    root: str = Field(default="isthmus", pattern=r"^[^+#\x00]{1,128}$")
    client_id: str = Field(default="isthmus-server", min_length=1)
    group: str = Field(default="", pattern=r"^[^+#/\x00]{0,64}$")
    username: str = ""
    password_file: Path | None = None
    tls: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    receive_maximum: int = Field(default=64, ge=1, le=65535)
    session_expiry_s: int = Field(default=3600, ge=0)


class UdpConfig(_Section):
    """Frames, slices or packets as datagrams; answers go back to where they came from."""

    host: str = "127.0.0.1"
    port: Port = 8082


class SerialConfig(_Section):
    """COBS frames on a serial port."""

    port: str
    baud: int = Field(default=115200, ge=1)
    device: str = ""


class BatchConfig(_Section):
    """Dynamic batching: at most ``max`` frames, none waits longer than ``delay_ms`` for others."""

    max: int = Field(default=16, ge=1, le=1024)
    delay_ms: float = Field(default=0.0, ge=0.0, le=10_000.0)
    workers: int = Field(
        default=0, ge=0, le=256, description="threads that decode and compute; 0: cores"
    )
    engine: str = "auto"
    engine_threads: int = Field(default=1, ge=1, le=256)


class LimitsConfig(_Section):
    """Bounds on what the server holds. Rates are frames a second of one device; 0: no limit."""

    body_bytes: int = Field(default=4 << 20, ge=64)
    queue: int = Field(default=1024, ge=1, description="frames accepted and not yet answered")
    device_queue: int = Field(default=256, ge=1, description="of them, of one device")
    device_rate: float = Field(default=0.0, ge=0.0)
    device_burst: int = Field(default=32, ge=1)
    devices: int = Field(default=10_000, ge=1, description="devices whose state is kept")
    connections: int = Field(default=4096, ge=1)
    reassembly_frames: int = Field(default=4096, ge=1)
    reassembly_ms: float = Field(
        default=200.0, gt=0.0, description="deadline from a frame's first packet"
    )
    request_s: float = Field(default=30.0, gt=0.0)


class QuarantineConfig(_Section):
    """A device with ``failures`` refused frames in ``window_s`` is shut out for ``seconds``."""

    failures: int = Field(default=20, ge=0, description="0: no quarantine")
    window_s: float = Field(default=10.0, gt=0.0)
    seconds: float = Field(default=30.0, gt=0.0)


class SecurityConfig(_Section):
    """TLS, tokens and device keys.

    ``allow_open`` lets a server without keys listen beyond loopback; it must be said in words.
    """

    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    tokens_file: Path | None = None
    fleet_secret_file: Path | None = None
    replay_file: Path | None = None
    tag_bytes_min: int = Field(default=8, ge=8, le=32)
    replay_window: int = Field(default=1024, ge=64, le=65536)
    allow_open: bool = False


class BackendConfig(_Section):
    """A predictor elsewhere that computes: this server decodes, and posts it FP32 features.

    The Open Inference Protocol with binary tensors. The predictor's model is called ``model``, with
    the bundle's name for {name}: by default what `isthmus serve` with http.features calls it.
    ``versions`` says the bundle's version, too. At most ``calls`` are under
    way at once; what is decoded meanwhile goes together in the next ones.
    """

    url: str = Field(pattern=r"^https?://[^/?#@\s]+(/[^?#\s]*)?$")
    model: str = Field(default="{name}.back", pattern=r"^[A-Za-z0-9_.{}-]{1,64}$")
    versions: bool = True
    input: str = Field(default="features", min_length=1, description="the tensor's name there")
    calls: int = Field(default=8, ge=1, le=4096)
    timeout_s: float = Field(default=10.0, gt=0.0, description="of one attempt")
    attempts: int = Field(default=3, ge=1, le=100)
    start_s: float = Field(
        default=300.0, ge=0.0, description="how long to wait for it at the start"
    )
    ca: Path | None = None
    token_file: Path | None = None


class RayConfig(_Section):
    """A server spread over a Ray cluster: replicas that decode, and replicas that compute.

    ``address`` "" starts Ray on this machine, "auto" joins the cluster of this machine, else
    HOST:PORT of a cluster. ``cpus`` and ``resources`` (Ray's names, such as GPU, with numbers) are
    those of one replica of the back half. The number of its replicas follows the calls under way:
    ``target_ongoing`` of them for each.
    """

    address: str = ""
    replicas_min: int = Field(default=1, ge=1, le=10_000)
    replicas_max: int = Field(default=4, ge=1, le=10_000)
    cpus: float = Field(default=1.0, gt=0.0)
    resources: dict[str, float] = Field(default_factory=dict)
    target_ongoing: float = Field(default=4.0, gt=0.0)
    upscale_delay_s: float = Field(default=10.0, ge=0.0)
    downscale_delay_s: float = Field(default=120.0, ge=0.0)
    ingress_replicas: int = Field(default=1, ge=1, le=10_000)
    ingress_cpus: float = Field(default=1.0, gt=0.0)
    ingress_resources: dict[str, float] = Field(default_factory=dict)
    proxies: str = Field(default="HeadOnly", pattern="^(HeadOnly|EveryNode)$")
    timeout_s: float = Field(default=10.0, gt=0.0, description="of one attempt")
    attempts: int = Field(default=4, ge=1, le=100)

    @model_validator(mode="after")
    def _ordered(self) -> RayConfig:
        if self.replicas_min > self.replicas_max:
            raise ValueError("replicas_min is above replicas_max")
        return self


class LogConfig(_Section):
    """Structured logs on standard error, and traces where ``otlp`` names a collector."""

    level: str = Field(default="info", pattern="^(debug|info|warning|error)$")
    json_lines: bool = True
    otlp: str = ""


class DashboardConfig(_Section):
    """The page at ``/``.

    ``pictures`` lets it show what devices saw, reconstructed from their features, for bundles that
    have a picture decoder. Off unless it is said: whoever may see the page sees the pictures.
    """

    enabled: bool = True
    pictures: bool = False


class ServerConfig(_Section):
    """All of it."""

    bundles: tuple[BundleConfig, ...] = ()
    http: HttpConfig = HttpConfig()
    grpc: GrpcConfig = GrpcConfig()
    mqtt: MqttConfig | None = None
    udp: UdpConfig | None = None
    serial: tuple[SerialConfig, ...] = ()
    batch: BatchConfig = BatchConfig()
    limits: LimitsConfig = LimitsConfig()
    quarantine: QuarantineConfig = QuarantineConfig()
    security: SecurityConfig = SecurityConfig()
    log: LogConfig = LogConfig()
    dashboard: DashboardConfig = DashboardConfig()
    backend: BackendConfig | None = None
    ray: RayConfig = RayConfig()
    conceal: str = "auto"
    top: int = Field(default=5, ge=0, le=1000)
    drain_s: float = Field(default=30.0, ge=0.0)

    @model_validator(mode="after")
    def _whole(self) -> ServerConfig:
        security = self.security
        if (security.certificate is None) != (security.key is None):
            raise ValueError("security.certificate and security.key belong together")
        if security.client_ca is not None and security.certificate is None:
            raise ValueError("security.client_ca needs security.certificate and security.key")
        if security.fleet_secret_file is not None and self.ray.ingress_replicas > 1:
            raise ValueError("security.fleet_secret_file allows one of ray.ingress_replicas")
        if security.fleet_secret_file is not None and security.replay_file is None:
            raise ValueError(
                "security.fleet_secret_file needs security.replay_file: without it counters are"
                " forgotten at a restart, and what was sent before is taken again"
            )
        return self


def load_config(path: Path | None, **overrides: Any) -> ServerConfig:
    """The configuration in the TOML file ``path``, with the command line's values over it.

    ``overrides`` are sections or fields by name; a section's dict is merged. ConfigError names the
    field, what is wrong and what is allowed.
    """
    content: dict[str, Any] = {}
    where = "config"
    if path is not None:
        where = str(path)
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(where, f"cannot be read ({error.strerror})") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(where, f"is no TOML ({error})") from error
    for name, value in overrides.items():
        if isinstance(value, dict) and isinstance(content.get(name), dict):
            content[name] = {**content[name], **value}
        else:
            content[name] = value
    try:
        return ServerConfig.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(
            f"{where}: {field}" if field else where,
            message[0].lower() + message[1:],
            remedy="see docs/server.md for every field",
        ) from None
