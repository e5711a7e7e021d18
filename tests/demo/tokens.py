"""Keys and tokens for the demo and the tests: a small identity provider on disk.

Everything is made afresh in the folder that is given; nothing secret is ever in the repository.
"""

import base64
import json
import os
import secrets
import time
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

AUDIENCE = "demo-api"
RSA_ISSUER = "https://rsa.demo.example"
JWKS_ISSUER = "https://jwks.demo.example"
SECRET_ISSUER = "https://secret.demo.example"


class IdentityProvider:
    """Three issuers, one for each kind of key source: a PEM file, a JWKS file, a secret."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        ec_key = ec.generate_private_key(ec.SECP256R1())
        ed_key = ed25519.Ed25519PrivateKey.generate()
        # Hexadecimal text, so that the file can be read and copied: 64 bytes of key, 256 bits of chance.
        secret = secrets.token_hex(32)

        public_pem = rsa_key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        jwks = {
            "keys": [
                public_jwk(ECAlgorithm.to_jwk(ec_key.public_key()), kid="ec-1", alg="ES256"),
                public_jwk(OKPAlgorithm.to_jwk(ed_key.public_key()), kid="ed-1", alg="EdDSA"),
            ]
        }
        write(folder / "rsa.pub.pem", public_pem, 0o644)
        write(folder / "jwks.json", json.dumps(jwks, indent=2).encode() + b"\n", 0o644)
        write(folder / "hs256.secret", secret.encode() + b"\n", 0o600)

        # algorithm -> issuer, signing key, kid
        self._signers = {
            "RS256": (RSA_ISSUER, rsa_key, None),
            "ES256": (JWKS_ISSUER, ec_key, "ec-1"),
            "EdDSA": (JWKS_ISSUER, ed_key, "ed-1"),
            "HS256": (SECRET_ISSUER, secret, None),
        }

    def token(self, algorithm: str, subject: str, lifetime: int = 300, **claims) -> str:
        """A signed token. `lifetime` is in seconds; a negative one makes a token that is past its end."""
        issuer, key, kid = self._signers[algorithm]
        return sign(key, algorithm, issuer, subject, lifetime, kid, claims)

    def forged(self, subject: str) -> str:
        """The right claims under the right issuer, signed with a key that is not the issuer's."""
        stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return sign(stranger, "RS256", RSA_ISSUER, subject, 300, None, {})

    def unsigned(self, subject: str) -> str:
        """A valid token whose header was changed to `alg: none` and whose signature was cut off."""
        payload = self.token("RS256", subject).split(".")[1]
        header = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
        return f"{header}.{payload}."


def sign(key, algorithm, issuer, subject, lifetime, kid, claims) -> str:
    now = int(time.time())
    payload = {"iss": issuer, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + lifetime, **claims}
    return jwt.encode(payload, key, algorithm=algorithm, headers={"kid": kid} if kid else None)


def public_jwk(text: str, **members: str) -> dict:
    return {**json.loads(text), "use": "sig", **members}


def write(path: Path, content: bytes, mode: int) -> None:
    """Writes a file that nobody else can read before its mode is what it should be."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    path.chmod(mode)
