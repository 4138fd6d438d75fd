"""A FastAPI application whose users Latchkey has logged in.

    pip install fastapi uvicorn "pyjwt[crypto]"
    uvicorn fastapi_app:app --host 127.0.0.1 --port 9000

Only the reverse proxy may reach the port: every other client could send the headers itself.
"""

import os
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import unquote

import jwt
from fastapi import Depends, FastAPI, Header, HTTPException

ISSUER = os.environ.get("LATCHKEY_URL", "https://example.com/accounts")  # BASE_URL and BASE_PATH
AUDIENCE = os.environ.get("AUDIENCE", "https://example.com")  # the origin of this application
# Without the proxy: http://127.0.0.1:8000/accounts/.well-known/jwks.json
KEYS_URL = os.environ.get("LATCHKEY_KEYS", f"{ISSUER}/.well-known/jwks.json")

app = FastAPI()
keys = jwt.PyJWKClient(KEYS_URL, cache_keys=True, lifespan=300)


@dataclass
class User:
    id: str
    name: str
    email: str | None
    role: str
    groups: list[str]


def get_user(
    remote_user: Annotated[str, Header()] = "",
    remote_name: Annotated[str, Header()] = "",
    remote_email: Annotated[str, Header()] = "",
    remote_role: Annotated[str, Header()] = "",
    remote_groups: Annotated[str, Header()] = "",
) -> User:
    """Returns the user whom the proxy has verified."""
    if not remote_user:
        raise HTTPException(401)
    return User(
        id=remote_user,
        name=unquote(remote_name),
        email=unquote(remote_email) or None,
        role=remote_role,
        groups=[unquote(group) for group in remote_groups.split(",")],
    )


def get_admin(user: Annotated[User, Depends(get_user)]) -> User:
    """Returns the user if they are an administrator. The proxy may read a path differently."""
    if user.role != "admin":
        raise HTTPException(403)
    return user


def get_claims(remote_token: Annotated[str, Header()] = "") -> dict:
    """Returns the claims of the signed token. No proxy needs to be trusted for them."""
    try:
        key = keys.get_signing_key_from_jwt(remote_token)
        return jwt.decode(
            remote_token, key, algorithms=["EdDSA"], audience=AUDIENCE, issuer=ISSUER, leeway=30
        )
    except jwt.PyJWKClientConnectionError:
        raise HTTPException(503, "The public keys of Latchkey cannot be read.") from None
    except jwt.PyJWTError:
        raise HTTPException(401) from None


@app.api_route("/app/", methods=["GET", "POST"])
def show(user: Annotated[User, Depends(get_user)]) -> User:
    return user


@app.get("/app/admin/")
def show_admin(user: Annotated[User, Depends(get_admin)]) -> dict:
    return {"admin": user.name}


@app.get("/app/token")
def show_claims(claims: Annotated[dict, Depends(get_claims)]) -> dict:
    return claims


@app.get("/app/public/")
def show_public(
    remote_user: Annotated[str | None, Header()] = None,
    cookie: Annotated[str | None, Header()] = None,
) -> dict:
    return {"id": remote_user, "cookie": cookie}
