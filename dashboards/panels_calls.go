package main

const (
	service = "surecall_service"
	method  = "surecall_service, rpc_method"
)

func calls() row {
	attempts, all := rate(service, "attempts_total", ofMethod), rate(service, "calls_total", ofMethod)
	// None is fine, or fails, as long as no call ever was or did.
	success := orNone(rate(service, "calls_total", ofMethod, fine), all) + " / " + all
	failures := orNone(rate(service, "calls_total", ofMethod, failing), all)
	// Of a call's attempts all but the last were followed by a retry, and the last failed if
	// the call did, unless that was rejected and had none.
	failed := orNone(rate(service, "retries_total", ofMethod), attempts) + " + clamp_min(" + failures + " - " +
		orNone(rate(service, "rejections_total", ofMethod), all) + ", 0)"
	return row{title: "Calls", panels: []panel{
		{
			title: "Success, now", kind: "stat", unit: "percentunit", share: true, width: 4,
			describe: "Share of calls that ended without an error of the service. Below 99.9 %: look at Calls that fail, and at a bad call on the status page or with surecall.Explain: it says what would have helped.",
			queries:  []query{{success, "{{surecall_service}}"}},
		},
		{
			title: "Success: callers and instances", unit: "percentunit", share: true, width: 10,
			describe: "What callers got, beside what instances answered; a call that a fallback or an alternate saved counts for both. Instances below callers: retries hide a fault, which is what they are for; find the instance in Instances by state and mend it before the budget is empty. Both low: retries cannot help, look at Retries denied by reason.",
			queries: []query{
				{success, "{{surecall_service}}: callers"},
				{"clamp_min(1 - (" + failed + ") / " + attempts + ", 0)", "{{surecall_service}}: instances"},
			},
		},
		{
			title: "Calls by code", unit: "reqps", width: 10, stack: true,
			describe: "Calls that ended, by status code. NOT_FOUND and the like are answers. UNAVAILABLE and RESOURCE_EXHAUSTED may be surecall's own: see Rejections by reason.",
			queries:  []query{{rate("rpc_response_status_code", "calls_total", ofMethod), "{{rpc_response_status_code}}"}},
			colors:   map[string]string{"OK": "green", "UNAVAILABLE": "red", "DEADLINE_EXCEEDED": "orange", "RESOURCE_EXHAUSTED": "purple", "INTERNAL": "dark-red", "UNKNOWN": "dark-orange"},
		},
		{
			title: "Calls that fail", kind: "table", unit: "reqps",
			describe: "Failing calls a second by method and code, the most first. One method alone: its handler. All methods: the instances, or the way to them; run surecall doctor with the client's target.",
			queries:  []query{{"sort_desc(" + rate(method+", rpc_response_status_code", "calls_total", ofMethod, failing) + " > 0)", ""}},
		},
		{
			title: "Latency, median", unit: "s",
			describe: "Median of recent attempts, of the caller process that sees it highest. Quantiles of several processes cannot be averaged. All methods at once: the instances have too much to do, or the caller has (see In flight).",
			queries:  []query{{over("max", method, metric("latency_seconds", ofMethod, `surecall_quantile="0.5"`)), "{{rpc_method}}"}},
		},
		{
			title: "Latency, tail", unit: "s",
			describe: "95th and 99th percentile of recent attempts, of the caller process that sees them highest. A tail far above the median on idempotent methods: consider hedging. Attempt timeouts and the detection of hangs follow the 99th.",
			queries: []query{
				{over("max", method, metric("latency_seconds", ofMethod, `surecall_quantile="0.95"`)), "{{rpc_method}} 95th"},
				{over("max", method, metric("latency_seconds", ofMethod, `surecall_quantile="0.99"`)), "{{rpc_method}} 99th"},
			},
		},
	}}
}

func retries() row {
	return row{title: "Retries and hedges", panels: []panel{
		{
			title: "Attempts per call", unit: "none",
			describe: "1 is a call without retries. Steadily above 1.1: something fails all the time and retries hide it, see Retries by reason. Below 1: calls end before their first attempt, at a limit or with an answer from a cache.",
			queries:  []query{{rate(service, "attempts_total", ofMethod) + " / " + rate(service, "calls_total", ofMethod), "{{surecall_service}}"}},
		},
		{
			title: "Retries by reason", unit: "ops", stack: true,
			describe: "How the attempt before each retry failed. UNAVAILABLE: connections break or instances refuse; attempt timeout and hang: instances are slow or stand still, see Instances by state.",
			queries:  []query{{rate("surecall_reason", "retries_total", ofMethod), "{{surecall_reason}}"}},
		},
		{
			title: "Retries denied by reason", unit: "ops", stack: true,
			describe: "Failed attempts that were not followed by another. not idempotent: give the methods named beside an idempotency_level in the proto file, or surecall.WithIdempotent, if they may run twice. budget empty: too much fails for retries to help. attempts spent: several instances fail at once. no time left: deadlines are too short for a second attempt. service down: the service breaker is open.",
			queries:  []query{{rate("surecall_reason", "retries_denied_total", ofMethod), "{{surecall_reason}}"}},
		},
		{
			title: "Methods that want an idempotency level", kind: "table", unit: "ops",
			describe: "Methods with attempts that failed and were not repeated because a second run could do harm. If it could not, say so: option idempotency_level = IDEMPOTENT or NO_SIDE_EFFECTS in the proto file, or surecall.WithIdempotent.",
			queries:  []query{{"sort_desc(" + rate(method, "retries_denied_total", ofMethod, `surecall_reason="not idempotent"`) + " > 0)", ""}},
		},
		{
			title: "Budget of retries and hedges", unit: "none", right: "percentunit",
			describe: "What the budgets of all clients hold, the most that they hold at this rate of calls, and on the right what is left to the client that has least. Empty: retries are denied, so that they do not add to an overload. Mend what fails; a larger budget makes it worse.",
			queries: []query{
				{over("sum", service, metric("budget_tokens", ofService)), "{{surecall_service}} tokens"},
				{over("sum", service, metric("budget_capacity", ofService)), "{{surecall_service}} capacity"},
				{over("min", service, metric("budget_tokens", ofService)+" / "+metric("budget_capacity", ofService)), "{{surecall_service}} least left"},
			},
		},
		{
			title: "Hedges", unit: "ops",
			describe: "Attempts sent beside one that took long, and those of them that answered first. Few won: the delay is too short, hedges only cost. Nearly all won: instances stand still, see Instances by state. Empty unless hedging is on.",
			queries: []query{
				{rate(service, "hedges_total", ofMethod), "{{surecall_service}} sent"},
				{rate(service, "hedges_won_total", ofMethod), "{{surecall_service}} won"},
			},
		},
		{
			title: "Second best", unit: "reqps", stack: true,
			describe: "Calls that a cache, an alternate or a fallback answered. fresh cache is what a cache is for; all else stands in for instances that fail: see Calls that fail of the service itself.",
			queries:  []query{{rate("surecall_by", "second_best_total", ofMethod), "{{surecall_by}}"}},
		},
		{
			title: "Notifications", unit: "none",
			describe: "One-way calls: how many wait for an answer, and how many a second were answered, ended with an error, or were never sent because too many wait. Failed and dropped ones are lost, and nobody gets an error: the events notification_dropped say why.",
			queries: []query{
				{over("sum", service, metric("notifications_pending", ofService)), "{{surecall_service}} pending"},
				{rate(service, "notifications_sent_total", ofService), "{{surecall_service}} sent/s"},
				{rate(service, "notifications_failed_total", ofService), "{{surecall_service}} failed/s"},
				{rate(service, "notifications_dropped_total", ofService), "{{surecall_service}} dropped/s"},
			},
		},
	}}
}
