// Counts scores, and finds which columns are among the best of a row; see ranks.py.
//
// Loops over scores have no branches, so that the compiler makes vector instructions of them without -ffast-math.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

namespace {

template <typename T>
using Key = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;

// An integer for a score, in the order of the scores; of both zeros the same.
template <typename T>
Key<T> key_of(T score) {
  Key<T> bits;
  score += 0;
  std::memcpy(&bits, &score, sizeof(T));
  return bits ^ ((bits >> (8 * sizeof(T) - 1)) & std::numeric_limits<Key<T>>::max());
}

template <typename T>
T score_of(Key<T> key) {
  key ^= (key >> (8 * sizeof(T) - 1)) & std::numeric_limits<Key<T>>::max();
  T score;
  std::memcpy(&score, &key, sizeof(T));
  return score;
}

template <typename T>
void keys_of(const T* __restrict scores, int64_t size, Key<T>* __restrict keys) {
  for (int64_t j = 0; j < size; ++j) keys[j] = key_of(scores[j]);
}

template <typename T>
int64_t count_reaching(const T* values, int64_t size, T bound) {
  Key<T> count = 0;  // as wide as a value; of fewer than 2^31
  for (int64_t j = 0; j < size; ++j) count += values[j] >= bound;
  return count;
}

// A bound that at least k keys reach, or all if they are fewer: the greatest one, or one that at most `most` reach.
template <typename K>
K bound_of_best(const K* keys, int64_t size, int64_t k, int64_t most) {
  K low = std::numeric_limits<K>::max(), high = std::numeric_limits<K>::min();
  for (int64_t j = 0; j < size; ++j) {
    low = keys[j] < low ? keys[j] : low;
    high = keys[j] > high ? keys[j] : high;
  }
  if (size <= k) return low;
  while (low < high) {
    using Unsigned = std::make_unsigned_t<K>;
    const K middle = high - static_cast<K>((static_cast<Unsigned>(high) - static_cast<Unsigned>(low)) / 2);
    const int64_t count = count_reaching(keys, size, middle);
    if (count < k) {
      high = middle - 1;
    } else {
      low = middle;
      if (count <= most) break;
    }
  }
  return low;
}

// The best columns of one row after another, in memory that is used again.
template <typename T>
class BestColumns {
 public:
  // Of rows of some width, at most the k best.
  BestColumns(int64_t width, int64_t k) : width_(width), k_(std::min(k, width)) {
    // A bound is looked for among the maxima of all groups, then columns in about k of them: so many of both.
    const int64_t balanced = std::max<int64_t>(2 * k_, std::sqrt(1.0 * k_ * width));
    groups_ = std::min(width, (balanced + 31) / 32 * 32);
    maxima_.resize(groups_);
    group_keys_.resize(groups_);
    reaching_.resize(groups_ + 1);
    keys_.resize(width);
    columns_.resize(width + 1);
    equal_.resize(width + 1);
  }

  // Find the k best columns of a row, and perhaps others.
  void find(const T* row) {
    std::fill(maxima_.begin(), maxima_.end(), -std::numeric_limits<T>::infinity());
    for (int64_t first = 0; first < width_; first += groups_) {
      raise(row + first, std::min(groups_, width_ - first), maxima_.data());
    }
    keys_of(maxima_.data(), groups_, group_keys_.data());
    const Key<T> bound = bound_of_best(group_keys_.data(), groups_, k_, k_ + k_ / 8);
    const T least = std::max(score_of<T>(bound), std::numeric_limits<T>::lowest());  // none of -inf
    const int64_t hits = places_reaching(maxima_.data(), groups_, least, reaching_.data());
    count_ = members_reaching(row, least, hits);
    for (int64_t i = 0; i < count_; ++i) keys_[i] = key_of(row[columns_[i]]);
  }

  // Raise the levels of the k best columns that were found to `level`; of equal scores the first columns are best.
  void mark(int64_t k, uint8_t level, uint8_t* __restrict levels) {
    const int32_t* __restrict columns = columns_.data();
    const Key<T>* __restrict keys = keys_.data();
    int32_t* __restrict last = equal_.data();
    const int64_t count = count_;
    int64_t below = 0, above = 0, equal = 0;
    for (int64_t i = 0; i < count; ++i) below += levels[columns[i]] < level;
    if (below == 0) return;
    const Key<T> bound = bound_of_best(keys, count, k, k);
    for (int64_t i = 0; i < count; ++i) {
      uint8_t& own = levels[columns[i]];
      own = std::max<uint8_t>(own, keys[i] > bound ? level : 0);
      above += keys[i] > bound;
      last[equal] = columns[i];
      equal += keys[i] == bound;
    }
    const int64_t places = std::min(equal, k - above);
    for (int64_t i = 0; i < places; ++i) levels[last[i]] = std::max(levels[last[i]], level);
  }

 private:
  static void raise(const T* __restrict scores, int64_t size, T* __restrict maxima) {
    for (int64_t j = 0; j < size; ++j) maxima[j] = scores[j] > maxima[j] ? scores[j] : maxima[j];
  }

  // Write which of some scores reach a bound, and return how many.
  static int64_t places_reaching(const T* __restrict scores, int64_t size, T bound, int32_t* __restrict places) {
    int64_t count = 0;
    for (int64_t j = 0; j < size; ++j) {
      places[count] = j;
      count += scores[j] >= bound;
    }
    return count;
  }

  // Write in order the columns of the first `hits` groups that reach a bound, and return how many.
  int64_t members_reaching(const T* __restrict row, T bound, int64_t hits) {
    int32_t* __restrict columns = columns_.data();
    const int32_t* __restrict groups = reaching_.data();
    int64_t count = 0;
    for (int64_t first = 0; first < width_; first += groups_) {
      const int64_t present = std::lower_bound(groups, groups + hits, width_ - first) - groups;
      for (int64_t hit = 0; hit < present; ++hit) {
        const int64_t column = first + groups[hit];
        columns[count] = column;
        count += row[column] >= bound;
      }
    }
    return count;
  }

  int64_t width_, k_, groups_, count_ = 0;
  std::vector<T> maxima_;  // group i has the columns i, i + groups_, i + 2 groups_, ...
  std::vector<Key<T>> group_keys_, keys_;
  std::vector<int32_t> reaching_, columns_, equal_;
};

// counts[i] is how many scores of a row reach bounds[i], of which those from offsets[row] on are the row's;
// found[j] is of how many of the k, from the greatest on, column j is among the k best of a row seen so far.
// A row is read for both while it is in the cache.
template <typename T>
void count_and_cover(const T* scores, int64_t rows, int64_t width, const int64_t* offsets, const T* bounds,
                     int64_t* counts, const int64_t* ascending, int64_t cuts, uint8_t* found) {
  const int64_t done = width ? *std::min_element(found, found + width) : cuts;  // the k that all columns are found at
  BestColumns<T> best(width, cuts > done ? ascending[cuts - 1 - done] : 0);
  for (int64_t row = 0; row < rows; ++row, scores += width) {
    for (int64_t i = offsets[row]; i < offsets[row + 1]; ++i) counts[i] = count_reaching(scores, width, bounds[i]);
    if (cuts > done) best.find(scores);
    for (int64_t i = cuts - 1 - done; i >= 0; --i) best.mark(ascending[i], cuts - i, found);
  }
}

}  // namespace

// One function for each type of scores, named by its size in bits.
#define KERASREC_RANKS(bits, T)                                                                                   \
  extern "C" void count_and_cover_##bits(const T* scores, int64_t rows, int64_t width, const int64_t* offsets,    \
                                         const T* bounds, int64_t* counts, const int64_t* ascending,              \
                                         int64_t cuts, uint8_t* found) {                                          \
    count_and_cover(scores, rows, width, offsets, bounds, counts, ascending, cuts, found);                        \
  }

KERASREC_RANKS(32, float)
KERASREC_RANKS(64, double)
