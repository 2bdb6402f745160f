// Converts columns to rows, and rows in any order to columns; see pools.py.
//
// Both work on tiles of as many rows as fit into the level 1 and 2 caches.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace {

constexpr int64_t kCacheLine = 64;

// Prefetches memory, because the processor sees no pattern in random rows of a few cache lines each.
template <typename T>
void prefetch(const T* start, int64_t count) {
  const char* end = reinterpret_cast<const char*>(start + count);
  for (const char* at = reinterpret_cast<const char*>(start); at < end; at += kCacheLine) __builtin_prefetch(at);
  __builtin_prefetch(end - 1);
}

// Copies without filling the caches if the processor can: the data is read much later, and need not be loaded first.
void write_through(char* to, const char* from, int64_t bytes) {
#ifdef __SSE2__
  const int64_t before = std::min<int64_t>(bytes, -reinterpret_cast<intptr_t>(to) & 15);
  std::memcpy(to, from, before);
  int64_t at = before;
  for (; at + 16 <= bytes; at += 16) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(to + at), _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + at)));
  }
  std::memcpy(to + at, from + at, bytes - at);
#else
  std::memcpy(to, from, bytes);
#endif
}

template <typename T>
void interleave(const T* const* columns, int64_t count, int64_t rows, T* out) {
  constexpr int64_t kTile = 64, kColumnsAhead = 8;
  std::vector<T> tile(kTile * count);
  for (int64_t first = 0; first < rows; first += kTile) {
    const int64_t size = std::min(rows - first, kTile);
    for (int64_t j = 0; j < count; ++j) {
      if (j + kColumnsAhead < count) prefetch(columns[j + kColumnsAhead] + first, size);
      const T* column = columns[j] + first;
      for (int64_t i = 0; i < size; ++i) tile[i * count + j] = column[i];
    }
    write_through(reinterpret_cast<char*>(out + first * count), reinterpret_cast<const char*>(tile.data()),
                  size * count * sizeof(T));
  }
#ifdef __SSE2__
  _mm_sfence();
#endif
}

template <typename T>
void gather(const T* pool, int64_t count, const int64_t* order, int64_t rows, T* const* out) {
  constexpr int64_t kTile = 256, kRowsAhead = 16;
  std::vector<T> tile(kTile * count);
  for (int64_t first = 0; first < rows; first += kTile) {
    const int64_t size = std::min(rows - first, kTile);
    for (int64_t i = 0; i < size; ++i) {
      if (first + i + kRowsAhead < rows) prefetch(pool + order[first + i + kRowsAhead] * count, count);
      std::memcpy(tile.data() + i * count, pool + order[first + i] * count, count * sizeof(T));
    }
    for (int64_t j = 0; j < count; ++j) {
      T* column = out[j] + first;
      for (int64_t i = 0; i < size; ++i) column[i] = tile[i * count + j];
    }
  }
}

template <typename T>
void gather_lists(const T* values, const int64_t* starts, const int64_t* offsets, int64_t rows, T* out) {
  constexpr int64_t kRowsAhead = 16;
  for (int64_t i = 0; i < rows; ++i) {
    if (i + kRowsAhead < rows) __builtin_prefetch(values + starts[i + kRowsAhead]);
    const int64_t length = offsets[i + 1] - offsets[i];
    if (length) std::memcpy(out + offsets[i], values + starts[i], length * sizeof(T));
  }
}

}  // namespace

// One function per item size in bits; `columns` and `places` are arrays of addresses.
#define KERASREC_POOLS(bits)                                                                                 \
  extern "C" void interleave_##bits(const void* columns, int64_t count, int64_t rows, void* out) {           \
    using T = uint##bits##_t;                                                                                \
    interleave(static_cast<const T* const*>(columns), count, rows, static_cast<T*>(out));                    \
  }                                                                                                          \
  extern "C" void gather_##bits(const void* pool, int64_t count, const int64_t* order, int64_t rows,         \
                                const void* places) {                                                        \
    using T = uint##bits##_t;                                                                                \
    gather(static_cast<const T*>(pool), count, order, rows, static_cast<T* const*>(places));                 \
  }                                                                                                          \
  extern "C" void gather_lists_##bits(const void* values, const int64_t* starts, const int64_t* offsets,     \
                                      int64_t rows, void* out) {                                             \
    using T = uint##bits##_t;                                                                                \
    gather_lists(static_cast<const T*>(values), starts, offsets, rows, static_cast<T*>(out));                \
  }

KERASREC_POOLS(8)
KERASREC_POOLS(16)
KERASREC_POOLS(32)
KERASREC_POOLS(64)
