/* A STREAM-style read, as a compiler makes it: 64-bit additions over each thread's own part,
 * best of several passes. Arguments: threads, bytes over all threads, passes. Prints bytes per
 * second. Build: cc -O3 -march=native -pthread bandwidth.c */
#define _POSIX_C_SOURCE 200112L
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static pthread_barrier_t together;
static size_t words;
static int passes;

struct part {
    pthread_t thread;
    double *starts, *ends;
    uint64_t sum;
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *read_part(void *argument) {
    struct part *part = argument;
    uint64_t *numbers = malloc(words * sizeof *numbers);
    if (!numbers) exit(1);
    for (size_t i = 0; i < words; i++) numbers[i] = i;
    for (int pass = 0; pass < passes; pass++) {
        pthread_barrier_wait(&together);
        part->starts[pass] = now();
        uint64_t sum = 0;
        for (size_t i = 0; i < words; i++) sum += numbers[i];
        part->sum += sum;
        part->ends[pass] = now();
        /* The next pass must read again. */
        __asm__ volatile("" : : "r"(numbers) : "memory");
    }
    free(numbers);
    return NULL;
}

int main(int count, char **arguments) {
    if (count != 4) return 2;
    int threads = atoi(arguments[1]);
    words = strtoull(arguments[2], NULL, 10) / sizeof(uint64_t) / (size_t)threads;
    passes = atoi(arguments[3]);
    pthread_barrier_init(&together, NULL, (unsigned)threads);
    struct part *parts = calloc((size_t)threads, sizeof *parts);
    for (int i = 0; i < threads; i++) {
        parts[i].starts = calloc((size_t)passes, sizeof(double));
        parts[i].ends = calloc((size_t)passes, sizeof(double));
        if (pthread_create(&parts[i].thread, NULL, read_part, &parts[i])) return 1;
    }
    for (int i = 0; i < threads; i++) pthread_join(parts[i].thread, NULL);
    double best = 0;
    uint64_t sum = 0;
    for (int pass = 0; pass < passes; pass++) {
        double start = parts[0].starts[pass], end = parts[0].ends[pass];
        for (int i = 1; i < threads; i++) {
            if (parts[i].starts[pass] < start) start = parts[i].starts[pass];
            if (parts[i].ends[pass] > end) end = parts[i].ends[pass];
        }
        double rate = (double)(words * sizeof(uint64_t) * (size_t)threads) / (end - start);
        if (rate > best) best = rate;
    }
    for (int i = 0; i < threads; i++) sum += parts[i].sum;
    printf("%.0f %llu\n", best, (unsigned long long)sum);
    return 0;
}
