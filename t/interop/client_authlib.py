#!/usr/bin/python3
"""The token service as Authlib sees it: reads and writes what common.mjs says."""

import html
import json
import os
import re
import sys

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

import requests
from authlib.common.security import generate_token
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import ClientSecretJWT, PrivateKeyJWT

given = json.load(sys.stdin)


def allow(url, user):
    """What a person with a browser does: says yes."""
    session = requests.Session()
    session.headers["X-User"] = user
    page = session.get(url, allow_redirects=False)
    page.raise_for_status()
    form = {}
    for tag in re.findall(r"<input\b[^>]*>", page.text):
        name = re.search(r'\bname="([^"]*)"', tag)
        value = re.search(r'\bvalue="([^"]*)"', tag)
        if name:
            form[html.unescape(name[1])] = html.unescape(value[1]) if value else ""
    button = re.search(r'<button\b[^>]*\bvalue="allow"[^>]*>', page.text)
    form[re.search(r'\bname="([^"]*)"', button[0])[1]] = "allow"
    action = re.search(r'<form\b[^>]*\baction="([^"]*)"', page.text)
    target = requests.compat.urljoin(url, html.unescape(action[1])) if action else url
    answer = session.post(target, data=form, allow_redirects=False)
    return answer.headers["Location"]


def session_for(client, endpoint):
    method, secret = client["method"], client.get("secret")
    if method == "private_key_jwt":
        secret = client["key"]
    session = OAuth2Session(
        client["id"], secret, scope="read:tenants", redirect_uri=given["redirect_uri"],
        token_endpoint_auth_method=method, revocation_endpoint_auth_method=method,
        code_challenge_method="S256")
    if method == "client_secret_jwt":
        session.register_client_auth_method(ClientSecretJWT(endpoint))
    if method == "private_key_jwt":
        session.register_client_auth_method(PrivateKeyJWT(endpoint, alg=client["alg"]))
    return session


def flow(client, metadata):
    endpoint = metadata["token_endpoint"]
    session = session_for(client, endpoint)
    verifier = generate_token(48)
    url, state = session.create_authorization_url(
        metadata["authorization_endpoint"], code_verifier=verifier)
    back = allow(url, "carol")
    token = session.fetch_token(endpoint, authorization_response=back, state=state, code_verifier=verifier)
    answer = session.get(given["api"])
    assert answer.text.strip() == "org_42", answer.text
    old = token["refresh_token"]
    token = session.refresh_token(endpoint, old)
    assert token["refresh_token"] != old, "the refresh token is the same"
    assert session.get(given["api"]).status_code == 200
    answer = session.revoke_token(metadata["revocation_endpoint"], token["refresh_token"], "refresh_token")
    assert answer.status_code == 200, answer.text
    answer = requests.get(given["api"], headers={"Authorization": "Bearer " + token["access_token"]})
    assert answer.status_code == 401, answer.status_code
    try:
        session.refresh_token(endpoint, token["refresh_token"])
    except OAuthError as e:
        assert e.error == "invalid_grant", e
    else:
        raise AssertionError("a revoked refresh token was good")


def main():
    metadata = requests.get(given["issuer"] + "/.well-known/oauth-authorization-server").json()
    for client in given["clients"]:
        name = client["method"] + (", " + client["alg"] if "alg" in client else "")
        try:
            flow(client, metadata)
            print(json.dumps({"name": name, "ok": True}))
        except Exception as e:  # whatever it was: the test says it
            print(json.dumps({"name": name, "ok": False, "why": "%s: %s" % (type(e).__name__, e)}))


main()
