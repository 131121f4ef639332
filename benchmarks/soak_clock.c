/* A wrong clock for one process: to be preloaded. SOAK_CLOCK names a file with the seconds that the
 * clock is off; it may change at any time. Only what Python itself asks for is changed: libraries
 * hand times to the kernel, which knows the right one. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long off_by(void *caller) {
    static long seconds, asked = -1;
    Dl_info where;
    if (!dladdr(caller, &where) || !where.dli_fname || !strstr(where.dli_fname, "python")
        || strstr(where.dli_fname, "-packages"))
        return 0;
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC_COARSE, &now);
    if (now.tv_sec != asked) {
        FILE *file = fopen(getenv("SOAK_CLOCK"), "r");
        if (file) {
            if (fscanf(file, "%ld", &seconds) != 1)
                seconds = 0;
            fclose(file);
        }
        asked = now.tv_sec;
    }
    return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int failed = syscall(SYS_clock_gettime, clock, time);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        time->tv_sec += off_by(__builtin_return_address(0));
    return failed;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    int failed = syscall(SYS_gettimeofday, time, zone);
    if (!failed)
        time->tv_sec += off_by(__builtin_return_address(0));
    return failed;
}

time_t time(time_t *out) {
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
    now.tv_sec += off_by(__builtin_return_address(0));
    if (out)
        *out = now.tv_sec;
    return now.tv_sec;
}
