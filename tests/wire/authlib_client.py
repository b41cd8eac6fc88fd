"""A stock OpenID Connect client, Authlib on requests, at a real head: told by a file, it says what it did."""

import json
import re
import sys
import time
import uuid

import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.jose import JsonWebKey, jwt
from authlib.oauth2.rfc7523 import PrivateKeyJWT

with open(sys.argv[1], encoding="utf-8") as told:
    told = json.load(told)
head = told["head"]
meta = requests.get(f"{head}/.well-known/openid-configuration", timeout=20).json()
assert meta["issuer"] == head, meta
keys = JsonWebKey.import_key_set(requests.get(meta["jwks_uri"], timeout=20).json())


def fill(browser, url, **fields):
    """Opens a page, fills in its form and sends it, as a person does."""
    page = browser.get(url, timeout=20)
    assert page.status_code == 200, page.text
    form = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', page.text))
    form = {name: value.replace("&amp;", "&") for name, value in form.items()}
    form.update(username=told["user"], password=told["password"], **fields)
    return browser.post(url.split("?")[0], data=form, allow_redirects=False, timeout=20)


def log_in(client_id, secret, method, redirect, algorithm):
    """Authorization code with PKCE, then refresh, userinfo, introspection, revocation."""
    nonce = uuid.uuid4().hex
    verifier = uuid.uuid4().hex + uuid.uuid4().hex
    session = OAuth2Session(
        client_id, secret, redirect_uri=redirect, scope="openid profile offline_access inventory:read",
        code_challenge_method="S256", token_endpoint_auth_method=method)
    url, state = session.create_authorization_url(
        meta["authorization_endpoint"], code_verifier=verifier, nonce=nonce)
    back = fill(requests.Session(), url, decision="allow")
    assert back.status_code == 303, back.text
    token = session.fetch_token(
        meta["token_endpoint"], authorization_response=back.headers["Location"], state=state,
        code_verifier=verifier)
    must = {"iss": {"essential": True, "value": head}, "aud": {"essential": True, "value": client_id},
            "nonce": {"essential": True, "value": nonce}}
    claims = jwt.decode(token["id_token"], keys, claims_options=must)
    claims.validate(leeway=5)
    assert claims.header["alg"] == algorithm, claims.header
    assert claims["sub"] == told["user"], claims
    assert session.get(meta["userinfo_endpoint"], timeout=20).json()["sub"] == told["user"]
    groups = f"{head}/hsm/v2/groups"
    assert session.get(groups, timeout=20).status_code == 200
    assert session.post(groups, json={"label": "x"}, timeout=20).status_code == 403
    old = token["refresh_token"]
    token = session.refresh_token(meta["token_endpoint"], refresh_token=old)
    assert token["refresh_token"] != old
    assert session.get(groups, timeout=20).status_code == 200
    if secret:
        about = session.introspect_token(meta["introspection_endpoint"], token=token["access_token"]).json()
        assert about["active"] and about["username"] == told["user"], about
    access = token["access_token"]
    gone = session.revoke_token(meta["revocation_endpoint"], token=token["refresh_token"])
    assert gone.status_code == 200, gone.text
    # The services hear of it by themselves, at once as people see it.
    bearer = {"Authorization": f"Bearer {access}"}
    until = time.monotonic() + 10
    while requests.get(groups, headers=bearer, timeout=20).status_code != 401:
        assert time.monotonic() < until, "a revoked token is still taken"
        time.sleep(0.05)
    print("logged in", client_id, algorithm)


log_in("public", None, "none", "http://127.0.0.1:4711/callback", "ES256")
log_in("grafana", told["secret"], "client_secret_basic", "https://grafana.site/login", "RS256")
log_in("grafana", told["secret"], "client_secret_post", "https://grafana.site/login", "RS256")

for key, algorithm in ((told["key"], "ES256"),):
    machine = OAuth2Session("machine", JsonWebKey.import_key(key), token_endpoint_auth_method="private_key_jwt")
    machine.register_client_auth_method(PrivateKeyJWT(meta["token_endpoint"], alg=algorithm))
    machine.fetch_token(meta["token_endpoint"], grant_type="client_credentials", scope="inventory:read")
    assert machine.get(f"{head}/hsm/v2/groups", timeout=20).status_code == 200
    print("signed", algorithm)
