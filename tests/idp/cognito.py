"""Amazon Cognito, as moto imitates it: cognito.py PORT [FOLDER]

On 127.0.0.1; over TLS with server.pem and server.key of FOLDER, and ca.pem to trust. It has one user pool with the
clients app and other, and two users: alice, in the group admins, and bob, in none. It talks as conversation.py says:

    {"do": "tokens", "user": "bob", "client": "other", "lifetime": 5}  gives access_token and id_token
    {"do": "rotate"}  gives kids: the key that signed until now and the new one, which signs from now on

Without more, tokens are those of alice at app, for an hour.

moto has one key, the same in every installation, whose kid is "dummy", and its issuer is in the cloud. Here two keys
are published, as Cognito does, the issuer can be reached, lifetimes are as asked for, and tokens have the header and
the members that Cognito's have. This replaces parts of moto, so its version is exact.
"""

import json
import logging
import ssl
import sys
import threading
import types
import uuid
from pathlib import Path

import boto3
from joserfc import jwk, jwt
from moto.cognitoidp import models, responses
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from conversation import hold

PASSWORD = "Correct-horse-1"

port = int(sys.argv[1])
folder = Path(sys.argv[2]) if len(sys.argv) > 2 else None
origin = f"{'https' if folder else 'http'}://127.0.0.1:{port}"
keys: list[jwk.RSAKey] = []
lifetime = 3600


def reachable(issuer: str) -> str:
    return f"{origin}/{issuer.rsplit('/', 1)[1]}"


def encode(_header: dict, claims: dict, _key: jwk.RSAKey) -> str:
    """Takes the place of joserfc's in moto."""
    claims = {**claims, "iss": reachable(claims["iss"]), "event_id": str(uuid.uuid4())}
    claims["exp"] = claims["iat"] + lifetime
    if claims["token_use"] == "access":
        claims["version"] = 2
    return jwt.encode({"kid": keys[-1].kid, "alg": "RS256"}, claims, keys[-1], default_type=None)


def configuration(*args: object, original=responses.CognitoIdpOpenIdConfigurationResponse.serve_openid_configuration):
    """Takes the place of moto's."""
    status, headers, body = original(*args)
    document = json.loads(body)
    return status, headers, json.dumps({**document, "issuer": reachable(document["issuer"])}).encode()


def rotate() -> dict:
    key = jwk.RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"})
    key.ensure_kid()
    keys[:] = [*keys[-1:], key]
    published = {"keys": [key.as_dict(private=False) for key in keys]}
    responses.CognitoIdpJsonWebKeyResponse.json_web_key = json.dumps(published).encode()
    return {"kids": [key.kid for key in keys]}


def serve() -> None:
    context = None
    if folder:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(folder / "server.pem", folder / "server.key")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", port, app, threaded=True, ssl_context=context)
    threading.Thread(target=server.serve_forever, daemon=True).start()


models.jwt = types.SimpleNamespace(encode=encode)
responses.CognitoIdpOpenIdConfigurationResponse.serve_openid_configuration = configuration
rotate()
rotate()
serve()

cognito = boto3.client(
    "cognito-idp",
    endpoint_url=origin,
    region_name="eu-central-1",
    aws_access_key_id="none",
    aws_secret_access_key="none",
    verify=str(folder / "ca.pem") if folder else None,
)
pool = cognito.create_user_pool(PoolName="pool")["UserPool"]["Id"]
clients = {}
for name in ("app", "other"):
    made = cognito.create_user_pool_client(
        UserPoolId=pool, ClientName=name, ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"]
    )
    clients[name] = made["UserPoolClient"]["ClientId"]
cognito.create_group(UserPoolId=pool, GroupName="admins")
for name in ("alice", "bob"):
    cognito.admin_create_user(UserPoolId=pool, Username=name, MessageAction="SUPPRESS")
    cognito.admin_set_user_password(UserPoolId=pool, Username=name, Password=PASSWORD, Permanent=True)
cognito.admin_add_user_to_group(UserPoolId=pool, Username="alice", GroupName="admins")


def tokens(user: str = "alice", client: str = "app", lifetime: int = 3600) -> dict:
    globals()["lifetime"] = lifetime
    result = cognito.initiate_auth(
        AuthFlow="USER_PASSWORD_AUTH",
        ClientId=clients[client],
        AuthParameters={"USERNAME": user, "PASSWORD": PASSWORD},
    )["AuthenticationResult"]
    return {"access_token": result["AccessToken"], "id_token": result["IdToken"]}


hold({"issuer": f"{origin}/{pool}", "clients": clients}, {"tokens": tokens, "rotate": rotate})
