/* What fxc.c and dxc.c share: a text read whole, and a line for each: "taken NAME", or "refused NAME" and the compiler's message. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

typedef struct {
    char *bytes;
    size_t size;
} Text;

static void die(const char *what, const char *name) {
    printf("%s: %s (%lu)\n", what, name, GetLastError());
    exit(2);
}

static Text read_text(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) die("cannot read", path);
    long size = ftell(file);
    Text text = {malloc(size + 1), size};
    rewind(file);
    if (!text.bytes || fread(text.bytes, 1, size, file) != (size_t)size) die("cannot read", path);
    fclose(file);
    return text;
}

/* The last part of a path. */
static const char *name_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Warnings are left out: wgpu asks for none, and they hide the fault. */
static void report(const char *path, HRESULT result, const char *message) {
    if (result >= 0) printf("taken %s\n", name_of(path));
    else printf("refused %s (%08lx)\n", name_of(path), result);
    while (result < 0 && message && *message) {
        int length = (int)strcspn(message, "\n");
        const char *warning = strstr(message, ": warning ");
        if (!warning || warning - message > length) printf("%.*s\n", length, message);
        message += length + (message[length] == '\n');
    }
    fflush(stdout);
}
