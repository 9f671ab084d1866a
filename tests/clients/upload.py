"""Uploads NDJSON with a client that sends everything before it reads anything.

upload.py <http.client, requests or httpx> <url> <line> <how many times>
prints {"status": .., "lines": <how many results there are>, "first": <the first result>, "last": [<the last two>]}.
"""

import json
import sys

TIMEOUT_SECONDS = 60


def by_http_client(url, body, headers):
    import http.client
    import urllib.parse

    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT_SECONDS)
    connection.request("POST", f"{parts.path}?{parts.query}", body, headers)
    response = connection.getresponse()
    return response.status, response.read()


def by_requests(url, body, headers):
    import requests

    response = requests.post(url, data=body, headers=headers, timeout=TIMEOUT_SECONDS)
    return response.status_code, response.content


def by_httpx(url, body, headers):
    import httpx

    response = httpx.post(url, content=body, headers=headers, timeout=TIMEOUT_SECONDS, trust_env=False)
    return response.status_code, response.content


client, url, line, count = sys.argv[1:]
upload = {"http.client": by_http_client, "requests": by_requests, "httpx": by_httpx}[client]
status, answer = upload(url, f"{line}\n".encode() * int(count), {"Content-Type": "application/x-ndjson"})
results = answer.splitlines()
first, last = json.loads(results[0]), [json.loads(result) for result in results[-2:]]
print(json.dumps({"status": status, "lines": len(results), "first": first, "last": last}))
