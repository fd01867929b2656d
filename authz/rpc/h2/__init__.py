"""A gRPC server for unary calls over HTTP/2, made for Envoy's Check requests.

frames           frames on the wire
frame_reader     bytes -> frames
frame_handlers   the frames that may come in each phase, and the effect of each
header_blocks    a header block -> its fields, from memory where that is safe, else by hpack
request_headers  header fields -> a method, or a refusal: the rules of HTTP, then of gRPC
request_bodies   the bodies of requests that are not complete
request_streams  the frames of a stream -> a request
stream_states    the states of a stream, and the events that a connection reports
responses        a message, a gRPC status, or plain text
send_queue       frames that wait to be sent, within the client's flow-control windows
flood_budgets    how many frames a client may send without making a call
connection       one connection, bytes in, events and bytes out: no I/O and no clock
protocol         one connection on an asyncio transport
tls_listener     accepts encrypted connections
server           the listeners
"""
