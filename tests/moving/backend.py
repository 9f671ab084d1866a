"""A stand-in for the backend of the application that moves: its health, its tokens, and its own stream of events.

Arguments: the port, and the secret of its tokens.
"""

import base64
import hashlib
import hmac
import json
import sys
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT, SECRET = int(sys.argv[1]), sys.argv[2].encode()


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(claims: dict) -> str:
    signed = ".".join(encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return f"{signed}.{encoded(hmac.new(SECRET, signed.encode(), hashlib.sha256).digest())}"


def soon() -> int:
    return int(time.time()) + 900


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/api/generate_token":
            # A user for each browser; the token never ends.
            self.answer(json.dumps({"token": token({"sub": str(uuid.uuid4())})}))
        elif self.path in ("/api/health", "/health"):
            self.answer(json.dumps({"status": "ok"}))
        elif self.path in ("/api/events", "/api/v1/events"):
            self.answer(": the application's own stream\n\n", "text/event-stream")
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        claims = {
            "sub": str(uuid.uuid4()),
            "email": "ann@example.com",
            "roles": ["user"],
            "iat": int(time.time()),
            "exp": soon(),
            "jti": str(uuid.uuid4()),
            "session_id": str(uuid.uuid4()),
        }
        self.answer(json.dumps({"access_token": token(claims), "token_type": "bearer", "expires_in": 900}))

    def answer(self, body: str, content_type: str = "application/json") -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
