"""Who asks, as the server sees it: API keys, and signatures by AWS's published algorithm over what arrives."""

import asyncio
import datetime
import hashlib
import hmac
import re

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import dspex
from dspex.plugin import AuthError, ConfigurationError
from dspex_bedrock.signature import Keys, Signature

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@pytest.fixture
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session-1")
    monkeypatch.setenv("AWS_REGION", "eu-west-3")


def keyed(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signature(request, secret):
    """What the signature of a request must be (docs.aws.amazon.com, "Create a signed AWS API request")."""
    told = request.headers["authorization"]
    scope = re.search(r"Credential=[^/]+/([^,]+),", told)[1]
    names = re.search(r"SignedHeaders=([^,]+),", told)[1].split(";")
    path = "".join(
        letter if letter.isalnum() or letter in "-_.~/" else f"%{ord(letter):02X}" for letter in request.path
    )
    headers = "".join(f"{name}:{request.headers[name].strip()}\n" for name in names)
    body = hashlib.sha256(request.body).hexdigest()
    canonical = "\n".join([request.method, path, "", headers, ";".join(names), body])
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", request.headers["x-amz-date"], scope, digest])
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = keyed(key, part)
    return keyed(key, text).hex()


@pytest.mark.parametrize("token", [None, "session-1"])
@pytest.mark.parametrize(
    "url",
    ["https://bedrock-runtime.eu-west-3.amazonaws.com/model/a%3A0/invoke", "http://127.0.0.1:8000/p/model/a%252F/x"],
)
def test_a_signature_is_the_one_that_awss_own_signer_gives(url, token, monkeypatch):
    now = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: now)
    request = AWSRequest("POST", url, headers={"content-type": "application/json"}, data=b'{"x": 1}')
    botocore.auth.SigV4Auth(Credentials("AKID", SECRET, token), "bedrock", "eu-west-3").add_auth(request)
    made = Signature("eu-west-3").headers(url, b'{"x": 1}', "20260102T030405Z", Keys("AKID", SECRET, token))
    assert dict(made) == {name.lower(): value for name, value in request.headers.items()}


def test_a_day_and_a_renewed_key_have_signatures_of_their_own():
    signature, one = Signature("eu-west-3"), Keys("AKID", SECRET, None)
    days = [signature.headers("http://x/", b"", f"2026010{day}T000000Z", one)["authorization"] for day in (1, 2, 1)]
    other = signature.headers("http://x/", b"", "20260101T000000Z", Keys("AKID", "another", None))["authorization"]
    assert days[0] == days[2]
    assert len({*days, other}) == 3


MODELS = [
    "acme-1",
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "arn:aws:bedrock:eu-west-3:123456789012:inference-profile/eu.amazon.nova-lite-v1:0",
    "odd name+%",
]


@pytest.mark.parametrize("model", MODELS)
async def test_a_request_is_signed_as_aws_checks_it(server, ask, stream, frames, reply, credentials, model):
    server.then(200, json=reply("4"))
    frames(("contentBlockDelta", {"delta": {"text": "4"}}), ("messageStop", {"stopReason": "end_turn"}))
    lm = dspex.LM(f"bedrock/{model}", api_base=server.url, cache=False, num_retries=0)
    assert (await ask(lm, "2 + 2? \u2013 é")).text == "4"
    assert "".join([delta.text async for delta in stream(lm)]) == "4"
    for request in server.requests:
        told = request.headers["authorization"]
        assert re.search(r"Credential=AKIDEXAMPLE/\d{8}/eu-west-3/bedrock/aws4_request,", told)
        assert re.search(r"Signature=([0-9a-f]{64})$", told)[1] == signature(request, SECRET)
        assert request.headers["x-amz-security-token"] == "session-1"
        assert SECRET not in str(request.headers)


async def test_credentials_come_from_a_profile(server, ask, reply, tmp_path):
    (tmp_path / "credentials").write_text(f"[work]\naws_access_key_id = AKIDWORK\naws_secret_access_key = {SECRET}\n")
    (tmp_path / "config").write_text("[profile work]\nregion = ap-south-1\n")
    server.then(200, json=reply("4"))
    lm = dspex.LM("bedrock/acme-1", profile="work", api_base=server.url, cache=False, num_retries=0)
    await ask(lm)
    told = server.requests[0].headers["authorization"]
    assert "Credential=AKIDWORK/" in told
    assert "/ap-south-1/" in told
    assert told.endswith(signature(server.requests[0], SECRET))


async def test_credentials_that_end_are_renewed(server, ask, reply, tmp_path):
    """A program gives them, for a time that is over: each request asks it again."""
    program = tmp_path / "give"
    program.write_text(
        "#!/bin/sh\necho x >> " + str(tmp_path / "asked") + "\ncat <<END\n"
        '{"Version": 1, "AccessKeyId": "AKIDNEW", "SecretAccessKey": "s", "SessionToken": "t", "Expiration": "'
        "$(date -u -d '+60 seconds' +%Y-%m-%dT%H:%M:%SZ)"
        '"}\nEND\n'
    )
    program.chmod(0o700)
    (tmp_path / "config").write_text(f"[profile p]\ncredential_process = {program}\n")
    server.then(200, json=reply("4"), times=None)
    lm = dspex.LM("bedrock/acme-1", profile="p", api_base=server.url, cache=False, num_retries=0)
    await asyncio.gather(*(ask(lm) for _ in range(3)))
    assert "Credential=AKIDNEW/" in server.requests[0].headers["authorization"]
    assert (tmp_path / "asked").read_text().count("x") >= 2


@pytest.mark.parametrize("name", ["AWS_BEARER_TOKEN_BEDROCK", "BEDROCK_API_KEY"])
async def test_an_api_key_needs_no_signature(server, ask, reply, monkeypatch, credentials, name):
    monkeypatch.setenv(name, "bedrock-key-0123456789")
    server.then(200, json=reply("4")).then(403, json={"message": "The key bedrock-key-0123456789 is wrong."})
    lm = dspex.LM("bedrock/acme-1", api_base=server.url, cache=False, num_retries=0)
    await ask(lm)
    assert server.requests[0].headers["authorization"] == "Bearer bedrock-key-0123456789"
    assert "x-amz-date" not in server.requests[0].headers
    with pytest.raises(AuthError) as caught:
        await ask(lm)
    assert "0123456789" not in str(caught.value)


async def test_nobody_asks_without_credentials(server, ask):
    with pytest.raises(AuthError, match=r"AWS_ACCESS_KEY_ID.*AWS_BEARER_TOKEN_BEDROCK"):
        await ask(dspex.LM("bedrock/acme-1", region="us-east-1", api_base=server.url, cache=False))
    assert not server.requests


async def test_refused_credentials_are_told_with_aws_name_for_it(server, ask, credentials):
    server.then(403, json={"message": "expired"}, headers={"x-amzn-ErrorType": "ExpiredTokenException:http://x"})
    with pytest.raises(AuthError, match=r"ExpiredTokenException. Is the model enabled") as caught:
        await ask(dspex.LM("bedrock/acme-1", api_base=server.url, cache=False, num_retries=0))
    assert "BEDROCK_API_KEY" not in str(caught.value)


def test_a_region_must_be_known(monkeypatch):
    with pytest.raises(ConfigurationError, match="name a region"):
        dspex.LM("bedrock/acme-1").capabilities  # noqa: B018
    with pytest.raises(ConfigurationError, match="'nobody' cannot be read"):
        dspex.LM("bedrock/acme-1", profile="nobody").capabilities  # noqa: B018
    lm = dspex.LM("bedrock/acme-1", region="us-west-2")
    assert lm.service.provider.base_url == "https://bedrock-runtime.us-west-2.amazonaws.com"
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "http://proxy.test/")
    assert dspex.LM("bedrock/acme-2").service.provider.base_url == "http://proxy.test"
