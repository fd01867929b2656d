"""The LLM filter in LuaJIT, as Envoy runs it, without Envoy: it sees headers, bodies and chunks."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from importlib.resources import files

from lupa.luajit21 import LuaRuntime

SOURCE = (files("authz") / "proxy" / "llm.lua").read_text()

# The parts of Envoy's stream handle that the filter uses. `log` has each write of metadata.
_HANDLE = """
function handle(header, next_chunk, body, log)
  local headers, buffer = {}, function(text)
    return { length = function() return #text end,
             getBytes = function(_, from, size) return text:sub(from + 1, from + size) end }
  end
  function headers:get(name) return header(name, nil) end
  function headers:remove(name) header(name, true) end
  local metadata = {}
  function metadata:set(space, key, value) log(space, key, value) end
  local info = {}
  function info:dynamicMetadata() return metadata end
  local self = {}
  function self:headers() return headers end
  function self:streamInfo() return info end
  function self:body() return body and buffer(body) end
  function self:bodyChunks()
    return function()
      local text = next_chunk()
      return text and buffer(text)
    end
  end
  return self
end
"""

Writes = list[tuple[str, str, str]]


class _AbortedError(Exception):
    """The rest of an answer never comes."""


class LuaFilter:
    """The filter, loaded once, as in a worker of Envoy."""

    def __init__(self) -> None:
        self._lua = LuaRuntime(encoding=None)
        self._lua.execute(SOURCE.encode())
        self._lua.execute(_HANDLE.encode())

    def asked(self, body: bytes | None, **headers: str) -> tuple[str | None, set[str]]:
        """Run the request. Return the model that it wrote, and the headers that it removed."""
        writes, removed = self._run(b"envoy_on_request", headers, (), body)
        assert all(write[:2] == ("authz.request", "model") for write in writes)
        return (writes[-1][2] if writes else None), removed

    def aborted(self, chunks: Iterable[bytes], **headers: str) -> Writes:
        """Return the writes of an answer that is aborted after its chunks: Envoy stops there."""

        def until_it_stops() -> Iterator[bytes]:
            yield from chunks
            raise _AbortedError

        return self.answered(until_it_stops(), **headers)

    def answered(self, chunks: Iterable[bytes], **headers: str) -> Writes:
        """Run the answer. Return every write of metadata, in order: space, key and value."""
        return self._run(b"envoy_on_response", {"_status": "200", **headers}, chunks, None)[0]

    def kilobytes(self) -> float:
        """Return the memory in use after a collection of garbage, in KiB."""
        collect = self._lua.globals()[b"collectgarbage"]
        collect(b"collect")
        return float(collect(b"count"))

    def _run(
        self,
        name: bytes,
        given: Mapping[str, str],
        chunks: Iterable[bytes],
        body: bytes | None,
    ) -> tuple[Writes, set[str]]:
        known = {
            key.replace("_", ":" if key == "_status" else "-").encode(): value.encode()
            for key, value in given.items()
        }
        writes: Writes = []
        removed: set[str] = set()
        left = iter(chunks)

        def header(key: bytes, is_removed: bool | None) -> bytes | None:
            if is_removed:
                removed.add(key.decode())
            return known.get(key)

        def log(space: bytes, key: bytes, value: bytes) -> None:
            writes.append((space.decode(), key.decode(), value.decode()))

        scope = self._lua.globals()
        handle = scope[b"handle"](header, lambda: next(left, None), body, log)
        with suppress(_AbortedError):
            scope[name](handle)
        return writes, removed
