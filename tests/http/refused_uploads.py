"""Sends uploads that are refused, with clients that send a whole body before they read, and checks what each can read.

usage: refused_uploads.py CLIENT URL < CASES    (CASES: a JSON list, see refusals.rs)
"""
import http.client
import json
import sys
import urllib.parse

CHUNK = 64 * 1024


def chunks(size):
    for start in range(0, size, CHUNK):
        yield b" " * min(CHUNK, size - start)


def body_of(case):
    return chunks(case["bytes"]) if case["chunked"] else b" " * case["bytes"]


def http_client(url, case):
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=60)
    connection.request(case["method"], case["path"], body_of(case), case["headers"], encode_chunked=case["chunked"])
    response = connection.getresponse()
    return response.status, response.read()


def with_requests(url, case):
    import requests

    response = requests.request(case["method"], url + case["path"], data=body_of(case), headers=case["headers"], timeout=60)
    return response.status_code, response.content


def with_httpx(url, case, **options):
    import httpx

    with httpx.Client(timeout=60, **options) as client:
        response = client.request(case["method"], url + case["path"], content=body_of(case), headers=case["headers"])
        return response.status_code, response.content


CLIENTS = {
    "http.client": http_client,
    "requests": with_requests,
    "httpx": with_httpx,
    "httpx-http2": lambda url, case: with_httpx(url, case, http1=False, http2=True),
}


def main():
    client, url = CLIENTS[sys.argv[1]], sys.argv[2]
    failed = False
    for case in json.load(sys.stdin):
        headers = {**case["headers"], **({"Transfer-Encoding": "chunked"} if case["chunked"] and client is http_client else {})}
        try:
            status, body = client(url, {**case, "headers": headers})
            seen = status, json.loads(body)["code"]
        except Exception as error:
            seen = type(error).__name__, str(error)
        if seen != (case["status"], case["code"]):
            failed = True
            print(f"{sys.argv[1]}, {case['name']}: expected {case['status']} {case['code']}, got {seen}", file=sys.stderr)
    sys.exit(1 if failed else 0)


main()
