"""A small OpenID provider on loopback: who asks it for a login is `alice`, at once."""

import datetime
import http.server
import ipaddress
import json
import secrets
import ssl
import threading
import time
import urllib.parse
from pathlib import Path

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import RSAAlgorithm
from tokens import public_jwk

KID = "2026-07"


def certified(folder: Path) -> ssl.SSLContext:
    """TLS for 127.0.0.1. Its certificate is `ca.pem` in the folder: there is no other authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "provider")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    certificate = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "ca.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "provider.key").write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", folder / "provider.key")
    return context


class Provider:
    """OpenID Connect with the authorization code flow, and access tokens that are JWTs. Over TLS: `ca.pem` in the folder
    is whom to trust."""

    def __init__(self, folder: Path):
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        # code -> nonce of the login that it ends
        self._logins: dict[str, str] = {}
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                provider._answer(self)

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                provider._answer(self, dict(urllib.parse.parse_qsl(body)))

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = certified(folder).wrap_socket(self._server.socket, server_side=True)
        self.issuer = f"https://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def token(self, lifetime: int = 300, algorithm: str = "RS256", typ: str | None = "JWT", **claims) -> str:
        """Of alice. What is None is left out."""
        now = int(time.time())
        usual = {"iss": self.issuer, "aud": None, "sub": "alice", "iat": now, "exp": now + lifetime}
        payload = {name: value for name, value in (usual | claims).items() if value is not None}
        return jwt.encode(payload, self._key, algorithm=algorithm, headers={"kid": KID, "typ": typ})

    def jwks(self) -> dict:
        key = public_jwk(RSAAlgorithm.to_jwk(self._key.public_key()), kid=KID, alg="RS256")
        other = {name: value for name, value in key.items() if name != "alg"}
        # Providers publish keys for encryption as well.
        return {"keys": [key, {**other, "kid": "enc-1", "use": "enc"}]}

    def _answer(self, request: http.server.BaseHTTPRequestHandler, form: dict | None = None) -> None:
        path, _, query = request.path.partition("?")
        asked = dict(urllib.parse.parse_qsl(query))
        match path:
            case "/.well-known/openid-configuration":
                self._send(request, self._metadata())
            case "/jwks":
                self._send(request, self.jwks())
            case "/authorize":
                code = secrets.token_urlsafe()
                self._logins[code] = asked["nonce"]
                back = urllib.parse.urlencode({"code": code, "state": asked["state"]})
                request.send_response(302)
                request.send_header("Location", f"{asked['redirect_uri']}?{back}")
                request.send_header("Content-Length", "0")
                request.end_headers()
            case "/token":
                nonce = self._logins.pop(form["code"])
                login, access = self.token(aud="web", nonce=nonce), self.token(aud="my-api", scope="read")
                self._send(request, {"id_token": login, "access_token": access, "token_type": "Bearer"})
            case _:
                request.send_error(404)

    def _metadata(self) -> dict:
        endpoints = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "jwks"}
        return {
            "issuer": self.issuer,
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            **{name: f"{self.issuer}/{path}" for name, path in endpoints.items()},
        }

    def _send(self, request: http.server.BaseHTTPRequestHandler, document: dict) -> None:
        body = json.dumps(document).encode()
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
