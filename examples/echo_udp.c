/* A UDP echo server in C that never sleeps: it asks its socket again and again.
 *
 * cc -O2 -o echo_udp echo_udp.c
 * labkit starts it on the DUT of a lab, with address and port as arguments: see program.yml. */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: %s ADDRESS PORT\n", argv[0]);
        return 2;
    }
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_DGRAM}, *found;
    if (getaddrinfo(argv[1], argv[2], &hints, &found) != 0) {
        fprintf(stderr, "%s %s: no address and port\n", argv[1], argv[2]);
        return 2;
    }
    int server = socket(found->ai_family, found->ai_socktype, 0);
    if (server < 0 || bind(server, found->ai_addr, found->ai_addrlen) != 0) {
        perror("socket");
        return 1;
    }
    puts("ready");
    fflush(stdout);
    for (;;) {
        char data[1 << 16];
        struct sockaddr_storage sender;
        socklen_t length = sizeof sender;
        ssize_t size = recvfrom(server, data, sizeof data, MSG_DONTWAIT, (struct sockaddr *)&sender, &length);
        if (size < 0) {
            if (errno == EAGAIN || errno == EINTR)
                continue;
            perror("recvfrom");
            return 1;
        }
        while (sendto(server, data, (size_t)size, 0, (struct sockaddr *)&sender, length) < 0 && errno == ENOBUFS) {
        }
    }
}
