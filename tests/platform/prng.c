/* bcryptprimitives.dll for a Wine that has none (8.0): the one function of it that Rust's std imports. For tests under Wine alone. */
#include <windows.h>

BOOLEAN NTAPI SystemFunction036(PVOID bytes, ULONG size); /* RtlGenRandom */

__declspec(dllexport) BOOL WINAPI ProcessPrng(BYTE *bytes, SIZE_T size) {
    while (size) {
        ULONG part = size > 1u << 20 ? 1u << 20 : (ULONG)size;
        if (!SystemFunction036(bytes, part)) return FALSE;
        bytes += part;
        size -= part;
    }
    return TRUE;
}
