/* An echo server with a thread for each connection. It prints its address, and ends at the first byte or the end of its standard input. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 64 * 1024 };

static void *serve(void *argument) {
    int client = (int)(intptr_t)argument, on = 1;
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    char *buffer = malloc(BUFFER);
    ssize_t count;
    while (buffer && (count = recv(client, buffer, BUFFER, 0)) > 0) {
        for (ssize_t sent = 0; sent < count;) {
            ssize_t more = send(client, buffer + sent, count - sent, MSG_NOSIGNAL);
            if (more < 0) {
                goto end;
            }
            sent += more;
        }
    }
end:
    free(buffer);
    close(client);
    return NULL;
}

static void *watch(void *unused) {
    char byte;
    exit(read(STDIN_FILENO, &byte, 1) < 0);
    return unused;
}

int main(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 4096) ||
        getsockname(listener, (struct sockaddr *)&address, &length)) {
        perror("echo");
        return 1;
    }
    printf("127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    pthread_t thread;
    pthread_create(&thread, NULL, watch, NULL);
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0 || pthread_create(&thread, &detached, serve, (void *)(intptr_t)client)) {
            perror("echo");
            return 1;
        }
    }
}
