"""Keys and tokens of joserfc, which shares no code with the module: tokens.py ALGORITHM…

It talks as conversation.py says. The first line has a JWK set with one key for each algorithm, whose kid is the
algorithm; of secrets it has all. Then:

    {"do": "sign", "algorithm": "PS384", "claims": {…}, "header": {…}}  gives token

Members of header, which may be left out, stand beside alg and kid or in place of them.
"""

import sys

from joserfc import jwk, jws, jwt

from conversation import hold

CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "ES256K": "secp256k1"}


def generate(algorithm: str) -> jwk.Key:
    parameters = {"use": "sig", "alg": algorithm, "kid": algorithm}
    if algorithm in CURVES:
        return jwk.ECKey.generate_key(CURVES[algorithm], parameters)
    if algorithm.startswith("HS"):
        return jwk.OctKey.generate_key(int(algorithm.removeprefix("HS")), parameters)
    if algorithm[:2] in ("RS", "PS"):
        return jwk.RSAKey.generate_key(2048, parameters)
    return jwk.OKPKey.generate_key("Ed448" if algorithm == "Ed448" else "Ed25519", parameters)


def sign(algorithm: str, claims: dict, header: dict | None = None) -> dict:
    header = {"alg": algorithm, "kid": algorithm, **(header or {})}
    registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    return {"token": jwt.encode(header, claims, keys[algorithm], registry=registry, default_type=None)}


keys = {algorithm: generate(algorithm) for algorithm in sys.argv[1:]}
hold({"keys": [key.as_dict(private=key.key_type == "oct") for key in keys.values()]}, {"sign": sign})
