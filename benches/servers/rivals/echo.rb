# An echo server with EventMachine. It prints its address, and ends at the first byte or the end of its
# standard input.
require 'eventmachine'
require 'socket'

module Echo
  def post_init
    set_sock_opt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
  end

  def receive_data(data)
    send_data data
  end
end

module Driver
  def receive_data(_)
    EM.stop
  end

  def unbind
    EM.stop
  end
end

EM.epoll
EM.run do
  server = EM.start_server('127.0.0.1', 0, Echo)
  port, = Socket.unpack_sockaddr_in(EM.get_sockname(server))
  puts "127.0.0.1:#{port}"
  $stdout.flush
  EM.attach($stdin, Driver)
end
