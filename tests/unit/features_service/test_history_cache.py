from prometheus_client import CollectorRegistry

from services.engine.features.history import History
from services.features.adapters.history_cache import HistoryCache
from services.features.metrics import FeatureMetrics


def cache_of(most_events):
    registry = CollectorRegistry()
    return HistoryCache(most_events, FeatureMetrics(registry)), registry


def test_a_history_serves_only_the_sequence_it_was_made_for():
    cache, _ = cache_of(10)
    history = History(())
    cache.put("a", 3, history, 1)
    assert cache.get("a", 3) is history
    assert cache.get("a", 4) is None
    assert cache.get("b", 3) is None


def test_the_least_recently_used_goes_first():
    cache, registry = cache_of(10)
    for name in "abc":
        cache.put(name, 1, History(()), 3)
    cache.get("a", 1)
    cache.put("d", 1, History(()), 3)
    assert [name for name in "abcd" if cache.get(name, 1)] == ["a", "c", "d"]
    assert registry.get_sample_value("tact_features_cached_customers") == 3
    assert registry.get_sample_value("tact_features_cached_events") == 9


def test_a_newer_history_replaces_the_older():
    cache, registry = cache_of(10)
    cache.put("a", 1, History(()), 6)
    cache.put("a", 2, History(()), 7)
    assert cache.get("a", 2)
    assert registry.get_sample_value("tact_features_cached_events") == 7


def test_a_history_larger_than_the_cache_pushes_nobody_out():
    cache, registry = cache_of(10)
    cache.put("a", 1, History(()), 9)
    cache.put("whale", 1, History(()), 11)
    assert cache.get("a", 1)
    assert not cache.get("whale", 1)
    assert registry.get_sample_value("tact_features_cached_events") == 9


def test_hits_and_misses_are_counted():
    cache, registry = cache_of(10)
    cache.get("a", 1)
    cache.put("a", 1, History(()), 1)
    cache.get("a", 1)
    for source in ("cache", "store"):
        assert registry.get_sample_value("tact_features_histories_total", {"source": source}) == 1
