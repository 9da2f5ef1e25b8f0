"""A wall clock that can be stepped under a running process, as an operator or NTP steps it."""

import struct
import subprocess

from monitoring import program

# Whoever asks the system for the time of day gets it with the offset of a mapped file added.
_SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *offset;

__attribute__((constructor)) static void map(void) {
    int file = open(getenv("STEPPED_CLOCK"), O_RDONLY);
    offset = mmap(0, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) now->tv_sec += *offset;
    return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
    int failed = syscall(SYS_gettimeofday, now, zone);
    now->tv_sec += *offset;
    return failed;
}

time_t time(time_t *now) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (now) *now = found.tv_sec;
    return found.tv_sec;
}
"""


class SteppedClock:
    """The wall clock of every process that starts with ``environ``; this process keeps its own."""

    def __init__(self, folder):
        source, library, self._offset = folder / "clock.c", folder / "clock.so", folder / "offset"
        source.write_text(_SOURCE)
        subprocess.run([program("cc"), "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
        self.step(hours=0)
        self.environ = {"LD_PRELOAD": str(library), "STEPPED_CLOCK": str(self._offset)}

    def step(self, hours):
        """Set the clock so far ahead of this process's; behind where negative."""
        # In one write, and in place: processes have the file mapped.
        with open(self._offset, "r+b" if self._offset.exists() else "wb", buffering=0) as file:
            file.write(struct.pack("=q", hours * 3_600))
