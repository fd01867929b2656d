"""A Link that records what it delivers."""

from authz.storage.link import Link


class Wire:
    """A transport that records what is written."""

    def __init__(self):
        self.written = []
        self.aborted = False

    def write(self, data):
        self.written.append(data)

    def abort(self):
        self.aborted = True


class Client:
    """A Link that records its events: pushes, ("answer", name, value), "lost"."""

    def __init__(self, max_pending=100):
        self.events = []
        self.link = Link(self.events.append, lambda: self.events.append("lost"), max_pending)

    def send(self, name, *command):
        self.link.send(lambda reply: self.events.append(("answer", name, reply)), *command)

    def answers(self):
        """Return the answers by name."""
        found = {}
        for event in self.events:
            if event[0] == "answer":
                found.setdefault(event[1], []).append(event[2])
        return found

    def connect(self):
        """Connect to a Wire."""
        wire = Wire()
        self.link.connection_made(wire)
        return wire


async def open_client(endpoint, **options):
    """Return a Client that is connected to a server."""
    client = Client(**options)
    await endpoint.open(lambda: client.link)
    return client
