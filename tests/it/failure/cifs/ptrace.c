/* Lets a user-mode kernel of 2022 run on processors with more registers than it knows (AMX).
 *
 * It saves and restores the floating-point registers of its processes in a buffer that is too short there: the system
 * gives the beginning of them, but takes back only all of them. This adds what is missing from what is there. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef NT_X86_XSTATE
#define NT_X86_XSTATE 0x202
#endif

static char registers[64 * 1024];

long ptrace(enum __ptrace_request request, ...) {
    va_list arguments;
    va_start(arguments, request);
    long pid = va_arg(arguments, int);
    void *address = va_arg(arguments, void *), *data = va_arg(arguments, void *);
    va_end(arguments);
    if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER) {
        long word, done = syscall(SYS_ptrace, request, pid, address, &word);
        if (done < 0)
            return done;
        errno = 0;
        return word;
    }
    long done = syscall(SYS_ptrace, request, pid, address, data);
    if (done == 0 || errno != EFAULT || request != PTRACE_SETREGSET || (long)address != NT_X86_XSTATE)
        return done;
    struct iovec all = {registers, sizeof registers}, *some = data;
    if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, address, &all) < 0 || some->iov_len > all.iov_len)
        return -1;
    memcpy(registers, some->iov_base, some->iov_len);
    return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, address, &all);
}
