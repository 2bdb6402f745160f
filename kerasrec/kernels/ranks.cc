// Counts scores, and finds which columns are among the best of a row; see ranks.py.
//
// Loops over scores keep a number per lane, which the compiler makes vector instructions of without -ffast-math.

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace {

constexpr int64_t kLanes = 32, kChunk = 1024;

template <typename T>
int64_t count_above(const T* scores, int64_t size, T bound, bool or_equal) {
  int32_t count = 0;  // of a chunk, or of a row of fewer than 2^31 columns
  if (or_equal) {
    for (int64_t j = 0; j < size; ++j) count += scores[j] >= bound;
  } else {
    for (int64_t j = 0; j < size; ++j) count += scores[j] > bound;
  }
  return count;
}

template <typename T>
void count_reaching(const T* scores, int64_t width, const int64_t* rows, const T* bounds, int64_t size,
                    int64_t* counts) {
  for (int64_t i = 0; i < size; ++i) counts[i] = count_above(scores + rows[i] * width, width, bounds[i], true);
}

// The best score of the columns whose level is below a limit; -inf if there is none.
template <typename T>
T best_below(const T* scores, const T* levels, int64_t size, T limit) {
  constexpr T kNone = -std::numeric_limits<T>::infinity();
  T best[kLanes];
  std::fill(best, best + kLanes, kNone);
  int64_t j = 0;
  for (; j + kLanes <= size; j += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const T score = levels[j + lane] < limit ? scores[j + lane] : kNone;
      best[lane] = score > best[lane] ? score : best[lane];
    }
  }
  for (; j < size; ++j) {
    if (levels[j] < limit) best[0] = std::max(best[0], scores[j]);
  }
  return *std::max_element(best, best + kLanes);
}

// The first of these columns with that score, which one of them has.
template <typename T>
int64_t first_with(T score, const T* scores, const T* levels, int64_t size, T limit) {
  int64_t j = 0;
  for (; j + kLanes <= size; j += kLanes) {
    int32_t found = 0;
    for (int64_t lane = 0; lane < kLanes; ++lane) found |= (scores[j + lane] == score) & (levels[j + lane] < limit);
    if (found) break;
  }
  while (scores[j] != score || levels[j] >= limit) ++j;
  return j;
}

// Whether fewer than k columns come before `column`: those of higher scores, and of equal ones the earlier columns.
template <typename T>
bool among_best(const T* scores, int64_t width, int64_t column, int64_t k) {
  int64_t before = 0;
  for (int64_t first = 0; first < width; first += kChunk) {
    const int64_t size = std::min(kChunk, width - first), equal = std::clamp<int64_t>(column - first, 0, size);
    before += count_above(scores + first, equal, scores[column], true);
    before += count_above(scores + first + equal, size - equal, scores[column], false);
    if (before >= k) return false;
  }
  return true;
}

// The k best columns of a row, best first: of equal scores the earlier columns, and none of -inf.
template <typename T>
void best_columns(const T* scores, int64_t width, int64_t k, std::vector<std::pair<T, int64_t>>& best) {
  const auto better = [](const auto& one, const auto& other) {
    return one.first > other.first || (one.first == other.first && one.second < other.second);
  };
  T least = -std::numeric_limits<T>::infinity();  // what a later column has to exceed
  best.clear();                                   // a heap, whose first element is the worst
  for (int64_t first = 0; first < width; first += kLanes) {
    const int64_t size = std::min(kLanes, width - first);
    if (count_above(scores + first, size, least, false) == 0) continue;
    for (int64_t j = first; j < first + size; ++j) {
      if (!(scores[j] > least)) continue;
      if (static_cast<int64_t>(best.size()) == k) {
        std::pop_heap(best.begin(), best.end(), better);
        best.pop_back();
      }
      best.emplace_back(scores[j], j);
      std::push_heap(best.begin(), best.end(), better);
      if (static_cast<int64_t>(best.size()) == k) least = best.front().first;
    }
  }
  std::sort_heap(best.begin(), best.end(), better);
}

// found[j] is of how many of the k, from the greatest on, column j is among the k best of a row seen so far.
//
// Most rows have soon nothing that is new: the best column that is new shows that in two passes over a row, and a few
// new ones are taken one by one. After a row with more, the k best of the next row are picked out at once.
template <typename T>
void cover(const T* scores, int64_t rows, int64_t width, const int64_t* ascending, int64_t count, uint8_t* found) {
  constexpr T kNone = -std::numeric_limits<T>::infinity();
  constexpr int kFew = 4;
  std::vector<T> levels(found, found + width);  // as wide as scores, for vector instructions
  std::vector<std::pair<T, int64_t>> best_ones;
  bool many = true;
  for (int64_t row = 0; row < rows; ++row, scores += width) {
    if (many) {
      best_columns(scores, width, ascending[count - 1], best_ones);
      int marked = 0;
      for (int64_t place = 0; place < static_cast<int64_t>(best_ones.size()); ++place) {
        T& level = levels[best_ones[place].second];
        const T own = count - (std::upper_bound(ascending, ascending + count, place) - ascending);
        marked += own > level;
        level = std::max(level, own);
      }
      many = marked > kFew;
      continue;
    }
    for (int64_t i = count - 1; i >= 0; --i) {
      const T limit = count - i;
      for (int marked = 0;; ++marked) {
        const T best = best_below(scores, levels.data(), width, limit);
        if (best == kNone) break;
        const int64_t column = first_with(best, scores, levels.data(), width, limit);
        if (!among_best(scores, width, column, ascending[i])) break;  // and the others of this level even less
        levels[column] = limit;
        many = many || marked >= kFew;
      }
    }
  }
  std::copy(levels.begin(), levels.end(), found);
}

}  // namespace

// One function for each type of scores, named by its size in bits.
#define KERASREC_RANKS(bits, T)                                                                                   \
  extern "C" void count_reaching_##bits(const T* scores, int64_t width, const int64_t* rows, const T* bounds,     \
                                        int64_t size, int64_t* counts) {                                          \
    count_reaching(scores, width, rows, bounds, size, counts);                                                    \
  }                                                                                                               \
  extern "C" void cover_##bits(const T* scores, int64_t rows, int64_t width, const int64_t* ascending,            \
                               int64_t count, uint8_t* found) {                                                   \
    cover(scores, rows, width, ascending, count, found);                                                          \
  }

KERASREC_RANKS(32, float)
KERASREC_RANKS(64, double)
