/* An NVML whose answers stand in the environment, read anew at every call: NVML_ENERGY_2 for the second device, else NVML_ENERGY.
   "!15" is error 15; what is not set is not supported. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long u64;
typedef struct { u64 total, free, used; } Memory;
typedef struct { unsigned version; u64 total, reserved, free, used; } MemoryV2;
typedef struct { unsigned pid; u64 used; unsigned gpu_instance, compute_instance; } Process;
enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, VERSION_MISMATCH = 25, DEVICES = 4 };

static const char *answer(const char *name, void *device) {
    char variable[64];
    snprintf(variable, sizeof variable, "NVML_%s_%d", name, (int)(long)device);
    const char *text = getenv(variable);
    if (text) return text;
    snprintf(variable, sizeof variable, "NVML_%s", name);
    return getenv(variable);
}

static int number(const char *name, void *device, u64 *value) {
    const char *text = answer(name, device);
    if (!text) return NOT_SUPPORTED;
    if (*text == '!') return atoi(text + 1);
    *value = strtoull(text, NULL, 10);
    return SUCCESS;
}

int nvmlInitWithFlags(unsigned flags) {
    u64 none;
    int result = number("INIT", NULL, &none);
    return result == NOT_SUPPORTED ? SUCCESS : result;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    for (long i = 1; i <= DEVICES; i++) {
        char variable[16];
        snprintf(variable, sizeof variable, "NVML_UUID_%ld", i);
        const char *known = getenv(variable);
        if (known && !strcmp(known, uuid)) { *device = (void *)i; return SUCCESS; }
    }
    return NOT_FOUND;
}

/* By number there are whole GPUs alone, as drivers have it. */
static long gpus(long number, const char **uuid) {
    long found = 0;
    for (long i = 1; i <= DEVICES; i++) {
        char variable[16];
        snprintf(variable, sizeof variable, "NVML_UUID_%ld", i);
        const char *known = getenv(variable);
        if (!known || strncmp(known, "GPU-", 4)) continue;
        if (i == number && uuid) *uuid = known;
        found++;
    }
    return found;
}

int nvmlInit(void) { return nvmlInitWithFlags(0); }

int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = (unsigned)gpus(0, NULL);
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    if (index >= gpus(0, NULL)) return NOT_FOUND;
    *device = (void *)(long)(index + 1);
    return SUCCESS;
}

int nvmlDeviceGetUUID(void *device, char *text, unsigned length) {
    const char *uuid = NULL;
    gpus((long)device, &uuid);
    if (!uuid) return NOT_FOUND;
    snprintf(text, length, "%s", uuid);
    return SUCCESS;
}

int nvmlSystemGetDriverVersion(char *text, unsigned length) {
    const char *version = answer("DRIVER", NULL);
    if (!version) return NOT_SUPPORTED;
    snprintf(text, length, "%s", version);
    return SUCCESS;
}

/* The first version has what the driver keeps for itself among what is used. */
int nvmlDeviceGetMemoryInfo(void *device, Memory *memory) {
    u64 reserved = 0;
    memory->total = 1ull << 36;
    number("RESERVED", device, &reserved);
    int result = number("USED", device, &memory->used);
    memory->used += reserved;
    memory->free = memory->total - memory->used;
    return result;
}

static int unsigned_number(const char *name, void *device, unsigned *value) {
    u64 found = 0;
    int result = number(name, device, &found);
    *value = (unsigned)found;
    return result;
}

int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *celsius) {
    return unsigned_number("TEMPERATURE", device, celsius);
}

int nvmlDeviceGetClockInfo(void *device, int clock, unsigned *megahertz) {
    return unsigned_number("CLOCK", device, megahertz);
}

int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, u64 *reasons) { return number("THROTTLE", device, reasons); }

#ifdef OLD_DRIVER
#define nvmlDeviceGetComputeRunningProcesses_v3 nvmlDeviceGetComputeRunningProcesses_v2
#else
int nvmlDeviceGetMemoryInfo_v2(void *device, MemoryV2 *memory) {
    if (getenv("NVML_OTHER_VERSION") || memory->version != (sizeof(MemoryV2) | 2 << 24)) return VERSION_MISMATCH;
    memory->total = 1ull << 36;
    memory->reserved = 0;
    number("RESERVED", device, &memory->reserved);
    return number("USED", device, &memory->used);
}

int nvmlDeviceGetTotalEnergyConsumption(void *device, u64 *millijoules) { return number("ENERGY", device, millijoules); }
#endif

/* "17:4096,18:8192" is process 17 with 4096 bytes, and 18. */
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, Process *processes) {
    const char *text = answer("PROCESSES", device);
    if (!text) return NOT_SUPPORTED;
    if (*text == '!') return atoi(text + 1);
    unsigned found = 0;
    while (*text) {
        char *rest;
        Process process = {0};
        process.pid = (unsigned)strtoul(text, &rest, 10);
        process.used = strtoull(rest + 1, &rest, 10);
        if (processes && found < *count) processes[found] = process;
        found++;
        text = *rest == ',' ? rest + 1 : rest;
    }
    int fits = found == 0 || (processes && found <= *count);
    *count = found;
    return fits ? SUCCESS : INSUFFICIENT_SIZE;
}
