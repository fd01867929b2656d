"""A link that remembers what it handed over."""

from authz.storage.link import Link


class Wire:
    """A transport that remembers what was written."""

    def __init__(self):
        self.written = []
        self.aborted = False

    def write(self, data):
        self.written.append(data)

    def abort(self):
        self.aborted = True


class Client:
    """A link, and all that it handed over in order: pushes, ("answer", name, value), "lost"."""

    def __init__(self, max_pending=100):
        self.events = []
        self.link = Link(self.events.append, lambda: self.events.append("lost"), max_pending)

    def send(self, name, *command):
        self.link.send(lambda reply: self.events.append(("answer", name, reply)), *command)

    def answers(self):
        """Name -> the answers it got."""
        found = {}
        for event in self.events:
            if event[0] == "answer":
                found.setdefault(event[1], []).append(event[2])
        return found

    def connect(self):
        """To a wire that nobody is at the other end of."""
        wire = Wire()
        self.link.connection_made(wire)
        return wire


async def open_client(endpoint, **options):
    """A client of a server."""
    client = Client(**options)
    await endpoint.open(lambda: client.link)
    return client
