/* Compiles HLSL with Microsoft's FXC: fxc.exe D3DCOMPILER.DLL TARGET FILE... Built with mingw, run under Wine by .ci/platforms. */
#include "files.h"

/* d3dcommon.h's ID3DBlob, in order. */
typedef struct Blob Blob;
struct Blob {
    const struct {
        HRESULT(WINAPI *query_interface)(Blob *, const GUID *, void **);
        ULONG(WINAPI *add_ref)(Blob *);
        ULONG(WINAPI *release)(Blob *);
        void *(WINAPI *pointer)(Blob *);
        SIZE_T(WINAPI *size)(Blob *);
    } *table;
};

typedef HRESULT(WINAPI *Compile)(const void *text, SIZE_T size, const char *name, const void *defines, void *include,
                                 const char *entry, const char *target, UINT flags, UINT effect_flags, Blob **code,
                                 Blob **messages);

#define ENABLE_STRICTNESS (1u << 11) /* as wgpu asks */

int main(int count, char **args) {
    if (count < 4) die("usage", "fxc.exe D3DCOMPILER.DLL TARGET FILE...");
    HMODULE library = LoadLibraryA(args[1]);
    if (!library) die("cannot load", args[1]);
    Compile compile = (Compile)(void *)GetProcAddress(library, "D3DCompile");
    if (!compile) die("no D3DCompile in", args[1]);
    for (int i = 3; i < count; i++) {
        Text text = read_text(args[i]);
        Blob *code = NULL, *messages = NULL;
        HRESULT result = compile(text.bytes, text.size, NULL, NULL, NULL, "main", args[2], ENABLE_STRICTNESS, 0, &code, &messages);
        report(args[i], result, messages ? messages->table->pointer(messages) : NULL);
        if (code) code->table->release(code);
        if (messages) messages->table->release(messages);
        free(text.bytes);
    }
    return 0;
}
