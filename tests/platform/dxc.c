/* Compiles HLSL with Microsoft's DXC: dxc.exe DXCOMPILER.DLL TARGET FILE... Built with mingw, run under Wine by .ci/platforms. */
#include "files.h"

/* Any of dxcapi.h's interfaces: three methods that all have, then its own. */
typedef struct Object Object;
struct Object {
    const struct {
        HRESULT(WINAPI *query_interface)(Object *, const GUID *, void **);
        ULONG(WINAPI *add_ref)(Object *);
        ULONG(WINAPI *release)(Object *);
        void *own[4];
    } *table;
};

typedef struct {
    const void *bytes;
    SIZE_T size;
    UINT encoding;
} Buffer;

typedef HRESULT(WINAPI *CreateInstance)(const GUID *, const GUID *, void **);
/* IDxcCompiler3, method 0. */
typedef HRESULT(WINAPI *Compile)(Object *, const Buffer *, const wchar_t **args, UINT count, void *include, const GUID *,
                                 void **result);
/* IDxcResult, methods 0 and 2; IDxcBlob, method 0. */
typedef HRESULT(WINAPI *GetStatus)(Object *, HRESULT *);
typedef HRESULT(WINAPI *GetErrors)(Object *, Object **);
typedef void *(WINAPI *GetPointer)(Object *);

static const GUID COMPILER = {0x73e22d93, 0xe6ce, 0x47f3, {0xb5, 0xbf, 0xf0, 0x66, 0x4f, 0x39, 0xc1, 0xb0}};
static const GUID COMPILER_3 = {0x228b4687, 0x5a6a, 0x4730, {0x90, 0x0c, 0x97, 0x02, 0xb2, 0x20, 0x3f, 0x54}};
static const GUID RESULT = {0x58346cda, 0xdde7, 0x4497, {0x94, 0x61, 0x6f, 0x87, 0xaf, 0x5e, 0x06, 0x59}};

int main(int count, char **args) {
    if (count < 4) die("usage", "dxc.exe DXCOMPILER.DLL TARGET FILE...");
    HMODULE library = LoadLibraryExA(args[1], NULL, LOAD_WITH_ALTERED_SEARCH_PATH);
    if (!library) die("cannot load", args[1]);
    CreateInstance create = (CreateInstance)(void *)GetProcAddress(library, "DxcCreateInstance");
    Object *compiler = NULL;
    if (!create || create(&COMPILER, &COMPILER_3, (void **)&compiler) < 0) die("no IDxcCompiler3 in", args[1]);
    wchar_t target[16] = {0};
    mbstowcs(target, args[2], 15);
    /* As wgpu asks. */
    const wchar_t *wanted[] = {L"-E", L"main", L"-T", target, L"-HV", L"2018", L"-no-warnings", L"-Ges"};
    for (int i = 3; i < count; i++) {
        Text text = read_text(args[i]);
        Buffer buffer = {text.bytes, text.size, CP_UTF8};
        Object *result = NULL, *errors = NULL;
        HRESULT status = ((Compile)compiler->table->own[0])(compiler, &buffer, wanted, sizeof wanted / sizeof *wanted, NULL,
                                                            &RESULT, (void **)&result);
        const char *message = NULL;
        if (status >= 0) {
            ((GetStatus)result->table->own[0])(result, &status);
            if (((GetErrors)result->table->own[2])(result, &errors) >= 0 && errors)
                message = ((GetPointer)errors->table->own[0])(errors);
        }
        report(args[i], status, message);
        if (errors) errors->table->release(errors);
        if (result) result->table->release(result);
        free(text.bytes);
    }
    return 0;
}
