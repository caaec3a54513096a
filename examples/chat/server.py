#!/usr/bin/env python3
"""The server of the chat page: serves the page, and mints the tokens with which the page calls Tally.

It makes an application and a chat of its own at each start. If Tally requires keys, API_KEY is the root key. WRITE_URL and READ_URL say where
Tally is, as --write and --read do.
"""

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAGE = Path(__file__).parent / "page"
# Longest body of a request for a session.
MAX_BODY_BYTES = 4096
TIMEOUT_SECONDS = 10


class Refused(Exception):
    """Tally has refused a request."""

    def __init__(self, status, problem):
        super().__init__(problem.get("detail", f"status {status}"))
        self.status = status
        self.problem = problem


def call(url, body, key, origin=None):
    """Posts JSON to Tally, and returns the answer with its headers."""
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    if origin:
        headers["Origin"] = origin
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            return json.load(response), response.headers
    except urllib.error.HTTPError as refusal:
        with refusal:
            raise Refused(refusal.code, json.load(refusal)) from None


class Room:
    """A chat of Tally that everybody who opens the page may enter."""

    def __init__(self, write, read, root_key, origin, expires_in):
        applications = f"{write}/api/v1/chat_applications"
        application, headers = call(applications, {"chat_application": {"name": "Chat page"}}, root_key, origin)
        if headers.get("Access-Control-Allow-Origin") not in (origin, "*"):
            sys.exit(f"Tally does not admit pages of {origin}: start it with TALLY_CORS_ORIGINS={origin}")
        self.application = f"{applications}/{application['token']}"
        # This server needs the key of its application alone.
        key, _ = call(f"{self.application}/keys", {"key": {"name": "chat page", "scopes": ["admin"]}}, root_key)
        self.key = key["secret"]
        chat, _ = call(f"{self.application}/chats", {}, self.key)
        self.session = {"write": write, "read": read, "application": application["token"], "chat": chat["number"]}
        self.expires_in = expires_in

    def open_session(self, user):
        """What the page needs to read and write this chat, and no other, in the name of a user."""
        wanted = {"user": user, "chats": [self.session["chat"]], "scopes": ["write"], "expires_in": self.expires_in}
        minted, _ = call(f"{self.application}/user_tokens", {"user_token": wanted}, self.key)
        return self.session | {"access_token": minted["access_token"]}


class Handler(SimpleHTTPRequestHandler):
    """Answers GET with the files of the page, and POST /session."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *arguments, room, **options):
        self.room = room
        super().__init__(*arguments, directory=str(PAGE), **options)

    def log_request(self, *_):
        """Logs only what fails."""

    def end_headers(self):
        session = self.room.session
        sources = f"connect-src 'self' {session['write']} {session['read']}"
        policy = f"default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; {sources}"
        self.send_header("Content-Security-Policy", policy)
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if self.path != "/session" or not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            self.answer(HTTPStatus.NOT_FOUND, {"detail": "POST /session takes {\"user\":…}"})
            return
        try:
            # Whoever asks may have any name here. A product takes the name from its own login.
            user = json.loads(self.rfile.read(int(length)))["user"]
        except (ValueError, KeyError, TypeError):
            self.answer(HTTPStatus.BAD_REQUEST, {"detail": "POST /session takes {\"user\":…}"})
            return
        try:
            self.answer(HTTPStatus.OK, self.room.open_session(user))
        except Refused as refused:
            self.answer(refused.status, refused.problem)
        except OSError as error:
            self.answer(HTTPStatus.SERVICE_UNAVAILABLE, {"detail": f"Tally cannot be reached: {error}"})

    def answer(self, status, body):
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def base_url(text):
    """A URL to which paths can be appended."""
    return text.rstrip("/")


def main():
    parser = argparse.ArgumentParser(description="Serves the chat page of Tally.")
    write = os.environ.get("WRITE_URL", "http://127.0.0.1:8080")
    read = os.environ.get("READ_URL", "http://127.0.0.1:3000")
    parser.add_argument("--write", type=base_url, default=write, help="the write port of Tally")
    parser.add_argument("--read", type=base_url, default=read, help="its read port")
    parser.add_argument("--port", type=int, default=8000, help="where the page is; 0 chooses a free one")
    parser.add_argument("--expires-in", type=int, default=900, help="life of a token, in seconds")
    options = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", options.port), None)
    origin = f"http://127.0.0.1:{server.server_port}"
    try:
        room = Room(options.write, options.read, os.environ.get("API_KEY"), origin, options.expires_in)
    except Refused as refused:
        hint = " (here: in API_KEY)" if refused.status == HTTPStatus.UNAUTHORIZED else ""
        sys.exit(f"Tally at {options.write}: {refused}{hint}")
    except OSError as error:
        sys.exit(f"Tally at {options.write}: {error}")
    server.RequestHandlerClass = partial(Handler, room=room)
    print(f"the page is at {origin}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
