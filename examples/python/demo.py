"""The demo of Tally's README with generated clients."""

import os
import sys
from typing import Protocol, TypeVar, cast
from uuid import uuid4

import httpx
import tally_read
import tally_write
from tally_read.api.applications import get_application
from tally_read.api.messages import list_messages, search_messages
from tally_read.models import Application, Message
from tally_write.api.applications import create_application
from tally_write.api.chats import create_chat
from tally_write.api.messages import post_message
from tally_write.models import (
    ApplicationFields,
    ApplicationRequest,
    CreatedApplication,
    CreatedChat,
    MessageFields,
    MessageRequest,
    PostedMessage,
    Problem,
)

T = TypeVar("T")


class Response(Protocol):
    """What the responses of both packages have."""

    @property
    def status_code(self) -> int: ...
    @property
    def content(self) -> bytes: ...
    @property
    def parsed(self) -> object: ...


class Refused(Exception):
    """A request was refused."""


def answered(kind: type[T], response: Response) -> T:
    """What was answered, or an error that says why it was refused."""
    if isinstance(response.parsed, kind):
        return response.parsed
    hint = " (set API_KEY to the root key)" if response.status_code == 401 else ""
    raise Refused(f"{response.status_code}: {response.content.decode().strip()}{hint}")


def connect(key: str | None) -> tuple[tally_write.AuthenticatedClient, tally_read.AuthenticatedClient]:
    """Clients of both ports."""
    write_url = os.environ.get("WRITE_URL", "http://127.0.0.1:8080")
    read_url = os.environ.get("READ_URL", "http://127.0.0.1:3000")
    if key is not None:
        return tally_write.AuthenticatedClient(write_url, token=key), tally_read.AuthenticatedClient(read_url, token=key)
    # The generated functions ask for a client with a credential also where the document says that it may be left out.
    return (
        cast(tally_write.AuthenticatedClient, tally_write.Client(write_url)),
        cast(tally_read.AuthenticatedClient, tally_read.Client(read_url)),
    )


def play(write: tally_write.AuthenticatedClient, read: tally_read.AuthenticatedClient) -> None:
    created = create_application.sync_detailed(
        client=write, body=ApplicationRequest(chat_application=ApplicationFields(name="Support"))
    )
    application = answered(CreatedApplication, created)
    token = application.token
    print("created", application.to_dict())

    chat = answered(CreatedChat, create_chat.sync_detailed(token, client=write)).number

    # A retry with the same key is the same message.
    idempotency_key = str(uuid4())
    message = MessageRequest(message=MessageFields(body="Hello, Straße! 🚀", author="alice"))
    post = post_message.sync_detailed(token, chat, client=write, body=message, idempotency_key=idempotency_key)
    posted = answered(PostedMessage, post)
    again = post_message.sync_detailed(token, chat, client=write, body=message, idempotency_key=idempotency_key)
    assert answered(PostedMessage, again) == posted
    print("posted", posted.to_dict())

    # A read that awaits the position of the write shows it.
    position = post.headers["Log-Position"]
    page = list_messages.sync_detailed(token, chat, client=read, include="author", await_position=position)
    listed = cast(list[Message], answered(list, page))
    assert [(item.number, item.body, item.author) for item in listed] == [(1, "Hello, Straße! 🚀", "alice")]
    print("listed", [item.to_dict() for item in listed])

    hits = search_messages.sync_detailed(token, chat, client=read, q="STRASSE", await_position=position)
    found = cast(list[Message], answered(list, hits))
    assert [item.number for item in found] == [1]
    print("found", [item.to_dict() for item in found])

    shown = answered(Application, get_application.sync_detailed(token, client=read, await_position=position))
    assert shown.chats_count == 1
    print("shown", shown.to_dict())

    blank = ApplicationRequest(chat_application=ApplicationFields(name=" "))
    refused = answered(Problem, create_application.sync_detailed(client=write, body=blank))
    assert refused.status == 422 and refused.errors
    print("refused", refused.code, refused.errors.to_dict())


write_client, read_client = connect(os.environ.get("API_KEY"))
try:
    with write_client, read_client:
        play(write_client, read_client)
except httpx.TransportError as error:
    sys.exit(f"no Tally answers: {error}; start one, or set WRITE_URL and READ_URL")
except Refused as refused:
    sys.exit(f"refused: {refused}")
