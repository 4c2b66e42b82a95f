/* Preloaded into a process that tests cameras: answers for /dev/dma_heap/ and /dev/udmabuf with
 * ordinary memory files, on kernels that have neither. Buffers are then plain shared memory, which
 * is all that libcamera's virtual pipeline needs. Layouts: linux/dma-heap.h, linux/udmabuf.h. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct heap_allocation {
  uint64_t bytes;
  uint32_t fd;
  uint32_t fd_flags;
  uint64_t heap_flags;
};
struct udmabuf_creation {
  uint32_t memory_fd;
  uint32_t flags;
  uint64_t offset;
  uint64_t bytes;
};

#define HEAP_ALLOCATE _IOWR('H', 0, struct heap_allocation)
#define UDMABUF_CREATE _IOW('u', 0x42, struct udmabuf_creation)
#define DMABUF_GROUP 'b' /* DMA_BUF_IOCTL_SYNC and its like: nothing to synchronise here */

static int is_ours(const char *path) {
  return path && (strncmp(path, "/dev/dma_heap/", 14) == 0 || strcmp(path, "/dev/udmabuf") == 0);
}

static int pass_open(const char *symbol, const char *path, int flags, mode_t mode) {
  int (*next)(const char *, int, ...) = dlsym(RTLD_NEXT, symbol);
  return next(is_ours(path) ? "/dev/null" : path, flags, mode);
}

static mode_t mode_of(int flags, va_list rest) {
  int creates = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
  return creates ? va_arg(rest, mode_t) : 0;
}

int open(const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  mode_t mode = mode_of(flags, rest);
  va_end(rest);
  return pass_open("open", path, flags, mode);
}

int open64(const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  mode_t mode = mode_of(flags, rest);
  va_end(rest);
  return pass_open("open64", path, flags, mode);
}

static int allocate(struct heap_allocation *wanted) {
  int fd = memfd_create("dmabuf", MFD_CLOEXEC);
  if (fd < 0) return -1;
  if (ftruncate(fd, (off_t)wanted->bytes) != 0) {
    close(fd);
    return -1;
  }
  wanted->fd = (uint32_t)fd;
  return 0;
}

int ioctl(int fd, unsigned long request, ...) {
  va_list rest;
  va_start(rest, request);
  void *argument = va_arg(rest, void *);
  va_end(rest);
  unsigned int code = (unsigned int)request;
  if (code == (unsigned int)HEAP_ALLOCATE) return allocate(argument);
  if (code == (unsigned int)UDMABUF_CREATE) {
    struct udmabuf_creation *wanted = argument;
    return fcntl((int)wanted->memory_fd, F_DUPFD_CLOEXEC, 0);
  }
  if (_IOC_TYPE(code) == DMABUF_GROUP) return 0;
  int (*next)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
  return next(fd, request, argument);
}
