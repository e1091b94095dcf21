/* A stand-in for NVIDIA's management library: the GPUs that a script describes.
 *
 * Built by cc when a test runs. The script is the file beside the library with ".script" at the end of its name; it is
 * read anew at every call, so a test changes what happens by writing it. Fields are separated by blanks, one thing a line:
 *
 *   fails <code>                                          nvmlInit says so
 *   gpu <uuid> <name> <MiB> <MiB reserved> <MiB used> <bus id> <compute capability, as 9.0> <split: 0 or 1>
 *   slice <gpu's index> <uuid> <name> <MiB> <MiB used>
 *   process <gpu's index> <MiB>                           one that computes there
 *   lost <gpu's index>                                    it is off the bus
 *   deaf <gpu's index>                                    it refuses to tell of events
 *   xid <gpu's index> <number>                            an event, delivered once; the order of these lines counts
 *   ecc <gpu's index>                                     the same: an error in memory that can't be corrected
 *   wait <code>                                           waiting fails so
 *   hang <anything>                                       asked what memory is used it is silent for 3 s, once
 *
 * Underscores in names stand for blanks.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, TIMEOUT = 10, LOST = 15 };
enum { ECC_EVENT = 2, XID_EVENT = 8 };
enum { LINES_MAX = 512, LINE_CHARS_MAX = 256, DEVICES_MAX = 64 };

/* As NVIDIA declares them. */
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } Memory;
typedef struct {
  char legacy_bus_id[16];
  unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
  char bus_id[32];
} Pci;
typedef struct { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; } Process;
typedef struct { void *device; unsigned long long type, data; unsigned gpu_instance, compute_instance; } Event;

/* What a handle points at: GPU g, or slice s of the script. */
typedef struct { int gpu, slice; } Handle;
static Handle gpus[DEVICES_MAX], slices[DEVICES_MAX];
static int delivered;

static char lines[LINES_MAX][LINE_CHARS_MAX];
static int line_count;

static void read_script(void) {
  Dl_info about;
  char path[4096];
  line_count = 0;
  if (!dladdr((void *)read_script, &about)) return;
  snprintf(path, sizeof path, "%s.script", about.dli_fname);
  FILE *file = fopen(path, "r");
  if (!file) return;
  while (line_count < LINES_MAX && fgets(lines[line_count], LINE_CHARS_MAX, file)) line_count++;
  fclose(file);
}

/* The n-th line (from 0) that begins with `word`; what follows it, or NULL. */
static const char *line(const char *word, int n) {
  size_t length = strlen(word);
  for (int at = 0; at < line_count; at++)
    if (!strncmp(lines[at], word, length) && lines[at][length] == ' ' && n-- == 0) return lines[at] + length + 1;
  return NULL;
}

/* Whether a line `word <index> …` is there. */
static int says(const char *word, int index) {
  const char *rest;
  for (int n = 0; (rest = line(word, n)); n++)
    if (atoi(rest) == index) return 1;
  return 0;
}

static void blanks(char *name) {
  for (; *name; name++)
    if (*name == '_') *name = ' ';
}

typedef struct {
  char uuid[80], name[96], bus_id[32];
  unsigned long long mib, reserved, used;
  int major, minor, mig;
} About;

static int about(Handle *handle, About *to) {
  int parent;
  memset(to, 0, sizeof *to);
  read_script();
  if (says("lost", handle->gpu)) return LOST;
  if (handle->slice >= 0) {
    const char *text = line("slice", handle->slice);
    if (!text || sscanf(text, "%d %79s %95s %llu %llu", &parent, to->uuid, to->name, &to->mib, &to->used) != 5)
      return NOT_FOUND;
  } else {
    const char *text = line("gpu", handle->gpu);
    if (!text || sscanf(text, "%79s %95s %llu %llu %llu %31s %d.%d %d", to->uuid, to->name, &to->mib, &to->reserved,
                        &to->used, to->bus_id, &to->major, &to->minor, &to->mig) != 9)
      return NOT_FOUND;
  }
  blanks(to->name);
  return SUCCESS;
}

int nvmlInit_v2(void) {
  const char *code;
  read_script();
  return (code = line("fails", 0)) ? atoi(code) : SUCCESS;
}

int nvmlShutdown(void) { return SUCCESS; }

int nvmlSystemGetDriverVersion(char *to, unsigned length) { return snprintf(to, length, "570.86.15") < 0; }

int nvmlSystemGetCudaDriverVersion_v2(int *to) { return *to = 12080, SUCCESS; }

int nvmlDeviceGetCount_v2(unsigned *count) {
  read_script();
  for (*count = 0; line("gpu", (int)*count); ++*count) {}
  return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
  read_script();
  if (index >= DEVICES_MAX || !line("gpu", (int)index)) return INVALID;
  gpus[index] = (Handle){(int)index, -1};
  *device = &gpus[index];
  return SUCCESS;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
  unsigned count;
  nvmlDeviceGetCount_v2(&count);
  for (unsigned index = 0; index < count && index < DEVICES_MAX; index++) {
    char found[80];
    if (sscanf(line("gpu", (int)index), "%79s", found) == 1 && !strcmp(found, uuid))
      return nvmlDeviceGetHandleByIndex_v2(index, device);
  }
  return NOT_FOUND;
}

int nvmlDeviceGetUUID(void *device, char *to, unsigned length) {
  About it;
  int code = about(device, &it);
  return code ? code : (snprintf(to, length, "%s", it.uuid), SUCCESS);
}

int nvmlDeviceGetName(void *device, char *to, unsigned length) {
  About it;
  int code = about(device, &it);
  return code ? code : (snprintf(to, length, "%s", it.name), SUCCESS);
}

int nvmlDeviceGetMemoryInfo_v2(void *device, Memory *to) {
  static int hung;
  About it;
  int code = about(device, &it);
  if (!hung && line("hang", 0)) hung = 1, sleep(3);
  if (code) return code;
  to->total = it.mib << 20, to->reserved = it.reserved << 20, to->used = it.used << 20;
  to->free = to->total - to->reserved - to->used;
  return SUCCESS;
}

int nvmlDeviceGetPciInfo_v3(void *device, Pci *to) {
  About it;
  int code = about(device, &it);
  memset(to, 0, sizeof *to);
  return code ? code : (snprintf(to->bus_id, sizeof to->bus_id, "%s", it.bus_id), SUCCESS);
}

int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
  About it;
  int code = about(device, &it);
  return *major = it.major, *minor = it.minor, code;
}

int nvmlDeviceGetMigMode(void *device, unsigned *current, unsigned *pending) {
  About it;
  int code = about(device, &it);
  return *current = *pending = (unsigned)it.mig, code;
}

int nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned *count) {
  (void)device;
  return *count = 7, SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(Handle *parent, unsigned index, void **device) {
  const char *text;
  unsigned of_parent = 0;
  read_script();
  for (int n = 0; n < DEVICES_MAX && (text = line("slice", n)); n++) {
    if (atoi(text) != parent->gpu || of_parent++ != index) continue;
    slices[n] = (Handle){parent->gpu, n};
    *device = &slices[n];
    return SUCCESS;
  }
  return NOT_FOUND;
}

int nvmlDeviceGetComputeRunningProcesses_v3(Handle *device, unsigned *count, Process *to) {
  const char *text;
  unsigned room = *count, found = 0;
  unsigned long long mib;
  int gpu;
  read_script();
  for (int n = 0; device->slice < 0 && (text = line("process", n)); n++) {
    if (sscanf(text, "%d %llu", &gpu, &mib) != 2 || gpu != device->gpu) continue;
    if (found < room) to[found] = (Process){1000 + found, mib << 20, ~0u, ~0u};
    found++;
  }
  *count = found;
  return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}

int nvmlDeviceGetSupportedEventTypes(Handle *device, unsigned long long *types) {
  About it;
  *types = ECC_EVENT | XID_EVENT;
  return about(device, &it);
}

int nvmlEventSetCreate(void **set) { return *set = &delivered, SUCCESS; }

int nvmlEventSetFree(void *set) {
  (void)set;
  return SUCCESS;
}

int nvmlDeviceRegisterEvents(Handle *device, unsigned long long types, void *set) {
  (void)types, (void)set;
  read_script();
  return says("deaf", device->gpu) ? NOT_SUPPORTED : SUCCESS;
}

/* The lines `xid` and `ecc`, one after the other in the script's order. */
int nvmlEventSetWait_v2(void *set, Event *event, unsigned timeout_ms) {
  int seen = 0, gpu, number;
  (void)set;
  read_script();
  const char *code = line("wait", 0);
  for (int at = 0; !code && at < line_count; at++) {
    int is_xid = sscanf(lines[at], "xid %d %d", &gpu, &number) == 2;
    if (!is_xid && sscanf(lines[at], "ecc %d", &gpu) != 1) continue;
    if (seen++ < delivered) continue;
    delivered++;
    void *device;
    if (nvmlDeviceGetHandleByIndex_v2((unsigned)gpu, &device)) return INVALID;
    *event = (Event){device, is_xid ? XID_EVENT : ECC_EVENT, is_xid ? (unsigned)number : 0, ~0u, ~0u};
    return SUCCESS;
  }
  if (code) return atoi(code);
  usleep(timeout_ms * 1000);
  return TIMEOUT;
}
