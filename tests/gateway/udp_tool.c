/* echo PORT | ask HOST PORT COUNT SIZE...: a static program without Python, for `peer-relay run`. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static char data[65536];

int main(int argc, char **argv) {
    if (argc == 3 && !strcmp(argv[1], "echo")) {
        struct sockaddr_in6 from = {.sin6_family = AF_INET6, .sin6_port = htons(atoi(argv[2]))};
        int sock = socket(AF_INET6, SOCK_DGRAM, 0);
        if (bind(sock, (struct sockaddr *)&from, sizeof from)) { perror("bind"); return 1; }
        printf("ready\n");
        fflush(stdout);
        for (;;) {
            socklen_t length = sizeof from;
            ssize_t size = recvfrom(sock, data, sizeof data, 0, (struct sockaddr *)&from, &length);
            if (size < 0) { perror("recvfrom"); return 1; }
            sendto(sock, data, size, 0, (struct sockaddr *)&from, length);
        }
    }
    if (argc >= 6 && !strcmp(argv[1], "ask")) {
        int count = atoi(argv[4]), sock = -1, answered = 0, asked = 0;
        struct timeval limit = {20, 0};
        struct sockaddr_storage to = {0};
        socklen_t length = sizeof(struct sockaddr_in);
        struct sockaddr_in *four = (void *)&to;
        struct sockaddr_in6 *six = (void *)&to;
        if (inet_pton(AF_INET, argv[2], &four->sin_addr) == 1) {
            four->sin_family = AF_INET;
            four->sin_port = htons(atoi(argv[3]));
        } else if (inet_pton(AF_INET6, argv[2], &six->sin6_addr) == 1) {
            six->sin6_family = AF_INET6;
            six->sin6_port = htons(atoi(argv[3]));
            length = sizeof(struct sockaddr_in6);
        } else {
            return 2;
        }
        sock = socket(to.ss_family, SOCK_DGRAM, 0);
        setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        if (connect(sock, (struct sockaddr *)&to, length)) { perror("connect"); return 1; }
        for (int word = 5; word < argc; word++) {
            int size = atoi(argv[word]);
            for (int i = 0; i < count; i++, asked++) {
                memset(data, 'a' + i % 26, size);
                if (send(sock, data, size, 0) < 0) { printf("send: %s\n", strerror(errno)); return 1; }
                ssize_t got = recv(sock, data, sizeof data, 0);
                if (got < 0) { printf("recv: %s\n", strerror(errno)); return 1; }
                answered += got == size && (!size || data[size - 1] == 'a' + i % 26);
            }
        }
        printf("%d of %d\n", answered, asked);
        return answered != asked;
    }
    return 2;
}
