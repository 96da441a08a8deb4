"""An echo server with `socketserver` and a thread for each connection. It prints its address, and ends at
the first byte or the end of its standard input."""

import socketserver
import sys
import threading


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    disable_nagle_algorithm = True
    request_queue_size = 4096


with Server(("127.0.0.1", 0), Echo) as server:
    print("127.0.0.1:%d" % server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.buffer.read(1)
