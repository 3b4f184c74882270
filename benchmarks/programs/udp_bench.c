/* The two ends of benchmarks/native.py, which know nothing of any overlay: blocking kernel sockets.

   echo PORT                        answers every datagram; prints "ready" first
   sink PORT                        counts numbered datagrams until none comes for a second: received, seconds
   ping HOST PORT SIZE COUNT        microseconds from question to answer: p50 p99 lost
   flood HOST PORT SIZE SECONDS     sends numbered datagrams as fast as send() lets it: sent */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

static char data[65536];

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec * 1e-9;
}

static int order(const void *one, const void *other) {
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

static int socket_at(const char *host, int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    int sock = socket(AF_INET, SOCK_DGRAM, 0);
    if (host)
        inet_pton(AF_INET, host, &at.sin_addr);
    if (host ? connect(sock, (void *)&at, sizeof at) : bind(sock, (void *)&at, sizeof at)) {
        perror(host ? "connect" : "bind");
        exit(1);
    }
    return sock;
}

static void wait_at_most(int sock, double seconds) {
    struct timeval limit = {(int)seconds, (seconds - (int)seconds) * 1e6};
    setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

static int echo(int port) {
    struct sockaddr_in from;
    int sock = socket_at(NULL, port);
    puts("ready");
    fflush(stdout);
    for (;;) {
        socklen_t length = sizeof from;
        ssize_t size = recvfrom(sock, data, sizeof data, 0, (void *)&from, &length);
        if (size >= 0)
            sendto(sock, data, size, 0, (void *)&from, length);
    }
}

static int sink(int port) {
    int sock = socket_at(NULL, port), count = 0;
    double first = 0, last = 0;
    puts("ready");
    fflush(stdout);
    while (recv(sock, data, sizeof data, 0) >= 0) {
        last = now();
        if (!count++) {
            first = last;
            wait_at_most(sock, 1);
        }
    }
    printf("%d %.6f\n", count, last - first);
    return 0;
}

static int ping(const char *host, int port, int size, int count) {
    int sock = socket_at(host, port), answered = 0, lost = 0;
    double *times = malloc(count * sizeof *times);
    wait_at_most(sock, 2);
    for (uint32_t i = 0, got = 0; i < (uint32_t)count; i++) {
        double began = now();
        memcpy(data, &i, sizeof i);
        send(sock, data, size, 0);
        do {
            if (recv(sock, data, sizeof data, 0) < 0) {
                lost++;
                break;
            }
            memcpy(&got, data, sizeof got);
            if (got == i)
                times[answered++] = now() - began;
        } while (got != i);
    }
    qsort(times, answered, sizeof *times, order);
    if (answered)
        printf("%.1f %.1f %d\n", times[answered / 2] * 1e6, times[answered * 99 / 100] * 1e6, lost);
    return !answered;
}

static int flood(const char *host, int port, int size, double seconds) {
    int sock = socket_at(host, port);
    uint32_t sent = 0;
    double end = now() + seconds;
    while (now() < end)
        for (int i = 0; i < 16; i++) {
            memcpy(data, &sent, sizeof sent);
            sent += send(sock, data, size, 0) == size;
        }
    printf("%u\n", sent);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 3 && !strcmp(argv[1], "echo"))
        return echo(atoi(argv[2]));
    if (argc == 3 && !strcmp(argv[1], "sink"))
        return sink(atoi(argv[2]));
    if (argc == 6 && !strcmp(argv[1], "ping"))
        return ping(argv[2], atoi(argv[3]), atoi(argv[4]), atoi(argv[5]));
    if (argc == 6 && !strcmp(argv[1], "flood"))
        return flood(argv[2], atoi(argv[3]), atoi(argv[4]), atof(argv[5]));
    return 2;
}
