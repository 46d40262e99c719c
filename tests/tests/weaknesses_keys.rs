//! Weaknesses in what requests are counted by, each shown not to be there: keys that are left out, made up or forged, and
//! numbers that clients tell.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests fail by panicking, as tests do

use portcullis_e2e::bundle::Signer;
use portcullis_e2e::gateway::Builder;
use portcullis_e2e::h1;
use portcullis_e2e::mmdb::Mmdb;
use portcullis_e2e::policies::{SITES, bucket, budget, bundle, get, policy, statuses, under};

#[test]
fn w_08_leaving_a_key_out_evades_nothing() {
    let gateway = under(&[policy("a", "", &[bucket("r", "header:x-key", 1, "")])], "{}");
    let filler: Vec<(String, String)> = (0..90).map(|n| (format!("x-filler-{n}"), "1".to_owned())).collect();
    let mut crowd: Vec<(&str, &str)> = filler
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    crowd.push(("x-key", "one"));
    assert_eq!(
        statuses(&gateway, "/", &[&[("x-key", "one")], &crowd]),
        [200, 429],
        "behind many fields"
    );
    assert_eq!(
        statuses(&gateway, "/", &[&[], &[("x-key", "")], &[("x-kee", "one")]]),
        [200, 429, 429]
    );
    let deny = under(
        &[policy("a", "", &[bucket("r", "header:x-key", 1, ", on_missing: deny")])],
        "{}",
    );
    let refused = get(&deny, "/", &[]);
    assert_eq!((refused.status, refused.reason().as_str()), (403, "limit_key_missing"));
    let query = under(&[policy("a", "", &[bucket("r", "query:k", 1, "")])], "{}");
    let long = format!("/?{}&k=1", "x=1&".repeat(120));
    assert!(
        get(&query, &long, &[]).status >= 400,
        "a query too long to be searched is not a key left out"
    );
}

#[test]
fn w_17_counters_do_not_meet() {
    let keyed = bucket("r", "header:x-a, header:x-b", 1, "");
    let gateway = under(
        &[
            policy("a", "", std::slice::from_ref(&keyed)),
            policy("b", "", &[bucket("r", "header:x-a, header:x-b", 1000, "")]),
        ],
        "{}",
    );
    let pairs: [&[(&str, &str)]; 4] = [
        &[("x-a", "u|v"), ("x-b", "w")],
        &[("x-a", "u"), ("x-b", "v|w")],
        &[("x-a", "u"), ("x-b", "v")],
        &[("x-a", "uv")],
    ];
    assert_eq!(statuses(&gateway, "/", &pairs), [200; 4]);
    assert_eq!(statuses(&gateway, "/", &pairs), [429; 4]);
    let again = get(&gateway, "/", &[("x-a", "new"), ("x-b", "w")]);
    assert_eq!(again.status, 200, "policy b was never charged by what a refused");
    let loops = "loop_detection: { enabled: true, window_seconds: 600, threshold_identical_requests: 3 },";
    let gateway = under(&[policy("p", loops, &[bucket("r", "header:x-k", 1000, "")])], "{}");
    let one: &[(&str, &str)] = &[("x-k", "a")];
    let same = ["/?x=1&x=2", "/?x=2&x=1", "/?x=1&x=2"].map(|path| get(&gateway, path, one).status);
    assert_eq!(same, [200, 200, 429], "a repeated parameter evades nothing");
    for other in [
        ["/?x=1&x=2", "b"],
        ["/?x=1", "a"],
        ["/?x=12", "a"],
        ["/%3Fx=1&x=2", "a"],
    ] {
        assert_eq!(get(&gateway, other[0], &[("x-k", other[1])]).status, 200, "{other:?}");
    }
}

#[test]
fn w_18_made_up_keys_evict_no_budget() {
    let rules = [budget("b", "header:x-key", 1, "")];
    let gateway = under(&[policy("p", "", &rules)], "{ max_keys: 2000 }");
    let victim: &[(&str, &str)] = &[("x-key", "victim")];
    assert_eq!(statuses(&gateway, "/", &[victim, victim]), [200, 429]);
    let mut flood = h1::Connection::open(gateway.public);
    for number in 0..6_000 {
        let request = format!("GET / HTTP/1.1\r\nHost: a.example\r\nX-Key: made-up-{number}\r\n\r\n");
        assert!(flood.ask(request).is_some());
    }
    assert_eq!(get(&gateway, "/", victim).status, 429);
    assert!(gateway.metric("portcullis_limit_counters{zone=\"policy\"}") <= 2_100.0);
    assert!(gateway.metric("portcullis_limit_shared_total{zone=\"policy\"}") > 0.0);
}

#[test]
fn w_21_names_of_costs_have_no_case() {
    let gateway = under(&[policy("p", "", &[budget("b", "", 10, "")])], "{}");
    assert_eq!(
        statuses(&gateway, "/", &[&[("x-COST", "10")], &[("X-Cost", "1")]]),
        [200, 429]
    );
}

#[test]
fn w_22_match_works_on_every_key() {
    let keys = [
        ("header:x-plan", "free"),
        ("query:plan", "free"),
        ("ip:address", "127.0.0.1"),
        ("ua:bot", "true"),
    ];
    for (key, value) in keys {
        let rule = bucket("r", "", 1, &format!(", match: {{ \"{key}\": \"{value}\" }}"));
        let gateway = under(&[policy("p", "", &[rule])], "{}");
        let is = [("x-plan", "free"), ("user-agent", "GPTBot/1.2")];
        let all = [1, 2].map(|_| get(&gateway, "/?plan=free", &is).status);
        assert_eq!(all, [200, 429], "{key}");
        if key != "ip:address" {
            let not = [("x-plan", "paid"), ("user-agent", "curl")];
            assert_eq!(get(&gateway, "/?plan=paid", &not).status, 200, "{key}");
        }
    }
}

#[test]
fn w_23_numbers_that_clients_tell_poison_nothing() {
    let gateway = under(&[policy("p", "", &[budget("b", "", 20, "")])], "{}");
    let told = [
        "nan", "inf", "-inf", "-100000", "1e400", "0x10", "1e-9", "1e9", "", "ten",
    ];
    for cost in told {
        let answer = get(&gateway, "/", &[("X-Cost", cost)]);
        assert_eq!(answer.status, 200, "{cost}");
        let left: u64 = answer
            .header("ratelimit-remaining")
            .expect("a number")
            .parse()
            .expect("a number");
        assert!(left < 20, "{cost}");
    }
    assert_eq!(get(&gateway, "/", &[("X-Cost", "10")]).status, 200);
    let refused = get(&gateway, "/", &[("X-Cost", "1")]);
    assert_eq!(refused.status, 429, "each of them but one was charged, by the default");
    assert!(refused.header("retry-after").expect("a number").parse::<u32>().is_ok());
}

#[test]
fn w_24_queries_are_those_of_the_request() {
    let cost = "{ name: c, limit_keys: [\"query:user\"], algorithm: token_bucket, algorithm_config: { tokens_per_second: 0.001, burst: 10, cost_source: \"query:Size\" } }";
    let gateway = under(&[policy("p", "", &[cost.to_owned()])], "{}");
    let send = |path: &str| get(&gateway, path, &[]).status;
    assert_eq!(
        [
            send("/?user=a&Size=10"),
            send("/?user=a"),
            send("/?user=b&Size=1%30"),
            send("/?user=b")
        ],
        [200, 429, 200, 429]
    );
}

#[test]
fn w_35_hosts_may_be_wildcards_addresses_and_have_underscores() {
    let hosts = "\"*.example.com\", \"[2001:db8::1]\", \"192.0.2.1\", \"a_b.example\"";
    let rule = bucket("r", "", 1, "");
    let policy =
        format!("- {{ id: p, spec: {{ selector: {{ pathPrefix: /, hosts: [{hosts}] }}, rules: [{rule}] }} }}\n");
    let gateway = under(&[policy], "{}");
    let send = |host: &str| h1::get(gateway.public, host, "/", &[]).header("ratelimit").is_some();
    for host in [
        "x.example.com",
        "X.Example.com:8080",
        "[2001:db8::1]",
        "192.0.2.1",
        "a_b.example",
    ] {
        assert!(send(host), "{host}");
    }
    assert!(!send("example.org"));
}

#[test]
fn w_36_nothing_that_a_client_sends_is_a_500() {
    let keys = "header:x-a, query:q, ua:bot_category, ip:address";
    let spec = "loop_detection: { enabled: true, window_seconds: 60, threshold_identical_requests: 100000 }, \
                circuit_breaker: { enabled: true, spend_rate_threshold_per_minute: 100000 },";
    let rules = [bucket("r", keys, 100_000, ""), budget("b", keys, 100_000, "")];
    let gateway = under(&[policy("p", spec, &rules)], "{}");
    for path in [
        "/",
        "/?",
        "/?q",
        "/?q=",
        "/?q=%",
        "/?q=%zz",
        "/?&&==&",
        "/?q=%ff%fe",
        "/?q=1&q=2",
        "/%7Ex",
    ] {
        for headers in [
            &[("x-cost", "nan"), ("x-a", "\u{1}")][..],
            &[("user-agent", ""), ("authorization", "Bearer a.b.c")],
            &[("x-a", ""), ("x_a", "b"), ("x-cost", "-0")],
            &[
                ("user-agent", "GPTBot"),
                ("authorization", "Bearer e30.MQ.x"),
                ("cookie", ";;=;"),
            ],
        ] {
            let headers: Vec<_> = headers
                .iter()
                .filter(|(_, value)| !value.contains('\u{1}'))
                .copied()
                .collect();
            let status = get(&gateway, path, &headers).status;
            assert!(status < 500, "{path} {headers:?}: {status}");
        }
    }
}

/// Keys that a certificate, a cookie or the route tells work in limits and in `match` alike.
#[test]
fn w_22_match_works_on_cookies_and_routes() {
    for (key, value, is, not) in [
        ("cookie:plan", "free", "a=b; plan=free", "a=b; plan=paid"),
        ("cookie:plan", "free", "plan=\"free\"", "xplan=free"),
    ] {
        let rule = bucket("r", "", 1, &format!(", match: {{ \"{key}\": \"{value}\" }}"));
        let gateway = under(&[policy("p", "", &[rule])], "{}");
        let send = |cookie| get(&gateway, "/", &[("Cookie", cookie)]).status;
        assert_eq!([send(is), send(is), send(not)], [200, 429, 200], "{key}: {is}");
    }
    let rule = bucket("r", "\"cookie:id\"", 1, ", match: { \"route:name\": metered }");
    let signer = Signer::new("k1");
    let sites = "sites:\n- hosts: [\"*\"]\n  filters: [{ policy: {} }]\n  routes:\n  - { name: metered, match: { path_prefix: /m }, respond: { status: 200, body: here } }\n  - { name: free, respond: { status: 200, body: here } }\n";
    let gateway = Builder::new(&(signer.policy() + sites))
        .file("policy.bundle", signer.sign(&bundle(&[policy("p", "", &[rule])])))
        .start();
    let send = |path, cookie| get(&gateway, path, &[("Cookie", cookie)]).status;
    assert_eq!(
        [send("/m", "id=1"), send("/m/x", "id=1"), send("/m", "id=2")],
        [200, 429, 200]
    );
    assert_eq!([send("/f", "id=1"), send("/f", "id=1")], [200, 200]);
    let body = "{ \"key\": \"route:name\", \"value\": \"free\", \"ttl\": \"1h\", \"reason\": \"test\" }";
    assert_eq!(gateway.admin("POST", "/-/kill", body).0, 201);
    assert_eq!(
        [send("/f", "id=3"), send("/m", "id=3")],
        [429, 200],
        "a route is switched off"
    );
}

/// Nobody says of himself where he is: neither by fields, nor by addresses that nobody vouches for.
#[test]
fn w_16_what_strangers_say_of_their_address_counts_for_nothing() {
    let names = ["country", "asn", "type", "tor", "address"];
    let of = |name: &&str| {
        let rule = bucket("r", &format!("\"ip:{name}\""), 1, ", on_missing: deny");
        let selector = format!("selector: {{ pathPrefix: /{name} }}");
        format!("- {{ id: {name}, spec: {{ {selector}, rules: [{rule}] }} }}\n")
    };
    let policies: Vec<String> = names.iter().map(of).collect();
    let start = |trusted: &str| {
        let signer = Signer::new("k1");
        let geoip = "geoip: { country: \"{dir}/c\", asn: \"{dir}/a\", asn_types: \"{dir}/k\", tor_exits: \"{dir}/t\", trusted_headers: true }\n";
        let yaml = format!("{trusted}{geoip}{}{}", signer.policy(), SITES.replace("FILTER", "{}"));
        let networks = [("127.0.0.0/8", "DE"), ("198.51.100.0/24", "FR")];
        Builder::new(&yaml)
            .file("c", Mmdb::countries(&networks))
            .file("a", Mmdb::asns(&[("127.0.0.0/8", 72), ("198.51.100.0/24", 62)]))
            .file("k", "72 isp\n62 hosting\n")
            .file("t", "127.0.0.1\n")
            .file("policy.bundle", signer.sign(&bundle(&policies)))
            .start()
    };
    let strangers = start("");
    for (path, field, said) in [
        ("/country", "X-Country-Code", ["FR", "US"]),
        ("/asn", "X-ASN", ["62", "7"]),
        ("/type", "X-ASN-Type", ["hosting", "business"]),
        ("/tor", "X-Tor-Exit", ["0", "false"]),
        ("/address", "X-Forwarded-For", ["198.51.100.1", "198.51.100.2"]),
    ] {
        let all: [&[(&str, &str)]; 3] = [&[], &[(field, said[0])], &[(field, said[1])]];
        assert_eq!(statuses(&strangers, path, &all), [200, 429, 429], "{field}");
    }
    // Behind a gateway that is trusted, clients are told apart, and are where they are.
    let behind = start("trusted_proxies: [127.0.0.1]\n");
    let by = |client: &str, path: &str| get(&behind, path, &[("X-Forwarded-For", client)]).status;
    for path in ["/country", "/asn", "/type", "/tor", "/address"] {
        assert_eq!([by("127.0.0.1", path), by("198.51.100.1", path)], [200, 200], "{path}");
        assert_eq!(by("198.51.100.1", path), 429, "{path}");
    }
    // What a client wrote in front of the proxy's own field is none of it.
    assert_eq!(by("127.0.0.9, 198.51.100.1", "/address"), 429);
}

/// Bots are found by their words, current ones among them, and nobody is one for a part of a word.
#[test]
fn w_37_bots_are_words_and_the_list_is_of_today() {
    let gateway = under(
        &[policy(
            "p",
            "",
            &[bucket(
                "r",
                "\"ua:bot_category\"",
                1,
                ", on_missing: skip, match: { \"ua:bot\": \"true\" }",
            )],
        )],
        "{}",
    );
    let send = |agent: &str| get(&gateway, "/", &[("User-Agent", agent)]).status;
    let of = |category: &str, agents: &[&str]| {
        for (number, agent) in agents.iter().enumerate() {
            let full = format!(
                "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; {agent}/1.0; +https://example.com/)"
            );
            let expected = if number == 0 { 200 } else { 429 };
            assert_eq!(send(&full), expected, "{agent} is no {category}");
        }
    };
    of(
        "ai_crawler",
        &[
            "GPTBot",
            "ClaudeBot",
            "CCBot",
            "Bytespider",
            "Amazonbot",
            "meta-externalagent",
            "cohere-ai",
            "Diffbot",
        ],
    );
    of(
        "ai_assistant_user",
        &[
            "ChatGPT-User",
            "Claude-User",
            "Perplexity-User",
            "MistralAI-User",
            "meta-externalfetcher",
        ],
    );
    of(
        "search_engine",
        &[
            "Googlebot",
            "bingbot",
            "OAI-SearchBot",
            "Claude-SearchBot",
            "PerplexityBot",
            "Applebot",
            "DuckDuckBot",
        ],
    );
    for innocent in [
        "Mozilla/5.0 (Linux; Android 13; CUBOT NOTE 21) AppleWebKit/537.36 Chrome/120.0 Mobile Safari/537.36",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/131.0 Safari/537.36 Brave/131",
        "Scandinavia/1.0 Odin/2.0 Fluid/3.0 Nota/1.0",
        "notgptbot/1.0",
        "GPTBotany/1.0",
    ] {
        assert_eq!([send(innocent), send(innocent)], [200, 200], "{innocent}");
    }
    let metrics = gateway.admin("GET", "/metrics", "").1;
    assert!(
        !metrics.contains("Mozilla") && !gateway.log().contains("Mozilla"),
        "no identity in metrics and log"
    );
}
