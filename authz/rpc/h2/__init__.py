"""A gRPC server for unary calls over HTTP/2, for the one question that the proxy asks.

frames      what stands on the wire
blocks      a header block -> its fields, by memory where that is safe, else by the hpack library
head        fields -> what is asked for: HTTP's rules, then gRPC's
answers     what is sent back: a message, a gRPC status, or plain text
limits      what a client may use up: settings, and budgets against floods
streams     which frame is in order in which state
outbox      what waits to be sent, as far as the client's windows allow
inbox       what has come of requests that are not complete
connection  one connection, bytes in, calls and bytes out: no I/O and no clock
protocol    one connection on a transport of asyncio
arrivals    a listener for encrypted connections
server      the listeners
"""
