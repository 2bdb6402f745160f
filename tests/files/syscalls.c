// Preloaded into a process, writes a line per call that matters after a power cut: what was flushed, renamed, removed.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void told(const char* call, const char* one, const char* other) {
  const char* log = getenv("SYSCALLS_LOG");
  if (log == NULL) return;
  char line[9000];
  int size = snprintf(line, sizeof line, "%s\t%s\t%s\n", call, one, other);
  int file = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (write(file, line, size) != size) abort();
  close(file);
}

static void place(int folder, const char* name, char* out, int size) {
  char link[64], at[4096] = "";
  if (name[0] != '/' && folder != AT_FDCWD) {
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    int n = readlink(link, at, sizeof at - 1);
    at[n < 0 ? 0 : n] = 0;
  }
  snprintf(out, size, "%s%s%s", at, at[0] ? "/" : "", name);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fsync(int file) {
  char path[4400];
  place(file, "", path, sizeof path);
  path[strlen(path) - 1] = 0;
  int failed = NEXT(fsync)(file);
  told("fsync", path, "");
  return failed;
}

int rename(const char* from, const char* to) {
  told("rename", from, to);
  return NEXT(rename)(from, to);
}

int renameat(int a, const char* from, int b, const char* to) {
  told("rename", from, to);
  return NEXT(renameat)(a, from, b, to);
}

int renameat2(int a, const char* from, int b, const char* to, unsigned flags) {
  told(flags == 2 ? "exchange" : "rename", from, to);
  return syscall(SYS_renameat2, a, from, b, to, flags);
}

int unlink(const char* name) {
  told("unlink", name, "");
  return NEXT(unlink)(name);
}

int unlinkat(int folder, const char* name, int flags) {
  char path[4400];
  place(folder, name, path, sizeof path);
  told("unlink", path, "");
  return NEXT(unlinkat)(folder, name, flags);
}
