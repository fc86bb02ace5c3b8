package main

// mayBePicked are the states in which an instance may be picked.
const mayBePicked = `surecall_state=~"eligible|absent|overruled"`

func instances() row {
	return row{title: "Instances", panels: []panel{
		{
			title: "Instances by state", unit: "none", width: 12, stack: true,
			describe: "Instances as the average client sees them. suspect, ejected, overruled: they hang or fail calls, look at their logs. failed: no connection, is the process there and the port open? not serving, draining: they say so themselves. absent: Consul lost them, and they still answer. connecting for long: the first connections fail, run surecall doctor.",
			queries:  []query{{over("sum", "surecall_state", over("avg", service+", surecall_state", metric("instances", ofService))), "{{surecall_state}}"}},
			colors: map[string]string{
				"eligible": "green", "absent": "light-green", "overruled": "orange", "suspect": "yellow", "ejected": "red", "failed": "dark-red",
				"not serving": "purple", "draining": "blue", "connecting": "light-blue", "standby": "text",
			},
		},
		{
			title: "Share that may be picked", unit: "percentunit", share: true, width: 6,
			describe: "Of the known instances, for the client that has the fewest. One client alone: its host or its network. All of them: the service. At 0 its calls go to instances that are not eligible, or are rejected.",
			queries: []query{{over("min", service, "sum without (surecall_state) ("+metric("instances", ofService, mayBePicked)+") / (sum without (surecall_state) ("+
				metric("instances", ofService, `surecall_state!="standby"`)+") > 0)"), "{{surecall_service}}"}},
		},
		{
			title: "Breakers open", unit: "none", width: 6,
			describe: "Breakers that are not closed, of all clients. instance: one fails and the others serve. method: the method fails on all, its handler or what it calls. service: nothing succeeds, and calls are rejected at once except for trials.",
			queries:  []query{{over("sum", "surecall_service, surecall_of", metric("breakers_open", ofService)), "{{surecall_service}} {{surecall_of}}"}},
		},
		{
			title: "Transitions", unit: "ops", width: 12,
			describe: "How often instances and breakers went to a state. Peaks at a deployment are its own. Without one, and again and again: instances flap, which is worse than one that is down; take it out and look at it.",
			queries:  []query{{rate("surecall_of, surecall_state", "transitions_total", ofService) + " > 0", "{{surecall_of}}: {{surecall_state}}"}},
		},
		{
			title: "In flight", unit: "none", width: 6,
			describe: "Unary attempts in flight, and open streams, of all clients. In flight is calls a second × latency: it rises when either does. With an even rate of calls it is the instances that became slow.",
			queries: []query{
				{over("sum", service, metric("in_flight", ofService)), "{{surecall_service}} unary"},
				{over("sum", service, metric("streams", ofService)), "{{surecall_service}} streams"},
			},
		},
		{
			title: "Known by clients and by the source", unit: "none", width: 6,
			describe: "Instances that the source lists now, and that clients hold. Held for long without being listed: the source's answer is doubted, see Source trusted.",
			queries: []query{
				{over("max", service, metric("source_instances", ofService)), "{{surecall_service}} listed"},
				{over("max", service, "sum without (surecall_state) ("+metric("instances", ofService)+")"), "{{surecall_service}} held"},
			},
		},
	}}
}

func limits() row {
	scope := "surecall_service, surecall_scope"
	return row{title: "Rejections, limits and waits", panels: []panel{
		{
			title: "Rejections by reason", unit: "reqps", stack: true,
			describe: "Calls that surecall refused before anything was sent. no instance: none is known, or none can be reached; the error names each state. service down, method down: a breaker is open. concurrency limit: calls stay too long, or the limit is too low. rate limit, throttled: as configured, or as the instances asked for.",
			queries:  []query{{rate("surecall_reason", "rejections_total", ofMethod), "{{surecall_reason}}"}},
		},
		{
			title: "Limits used", unit: "percentunit",
			describe: "Attempts or streams in flight by the limit of their scope, for the fullest client. Above 80 % for long: find what became slow before you raise the limit.",
			queries:  []query{{over("max", scope, metric("limit_in_flight", ofService)+" / ("+metric("limit_max", ofService)+" > 0)"), "{{surecall_service}} {{surecall_scope}}"}},
		},
		{
			title: "Waiting for a slot", unit: "none", right: "none",
			describe: "Attempts in the queues of limits, of all clients, and the limits. A queue that does not empty adds its wait to each call: instances cannot keep up.",
			queries: []query{
				{over("sum", scope, metric("limit_waiting", ofService)), "{{surecall_service}} {{surecall_scope}} waiting"},
				{over("sum", scope, metric("limit_max", ofService)), "{{surecall_service}} {{surecall_scope}} limit"},
			},
		},
		{
			title: "Waits", unit: "ops", width: 12,
			describe: "How often a second calls and attempts waited for a rate, a breaker or a slot. Not 0 under a rate limit that waits; else see Limits used.",
			queries:  []query{{rate(method, "waits_total", ofMethod), "{{rpc_method}}"}},
		},
		{
			title: "Mean wait", unit: "s", width: 12,
			describe: "How long one such wait took. It is part of the call's time, and of no attempt's latency.",
			queries:  []query{{rate(method, "wait_time_seconds_total", ofMethod) + " / (" + rate(method, "waits_total", ofMethod) + " > 0)", "{{rpc_method}}"}},
		},
	}}
}

func source() row {
	return row{title: "Source and steering", panels: []panel{
		{
			title: "Source age", unit: "s", width: 6,
			describe: "Time since the source last had an answer, for the client that waits longest. Consul's blocking queries answer within minutes. Older: the agent, or the way to it; clients go on with what they know.",
			queries:  []query{{over("max", service, metric("source_age_seconds", ofService)), "{{surecall_service}}"}},
		},
		{
			title: "Source trusted", unit: "percentunit", share: true, width: 6,
			describe: "Share of clients that trust what their source last said. Below 1: it lost most instances at once, or answers with an error, or the client serves from disk; the status page and surecall.Client.Source say which. Do not restart callers meanwhile: what they know serves.",
			queries:  []query{{over("avg", service, metric("source_trusted", ofService)), "{{surecall_service}}"}},
		},
		{
			title: "Switched off, or only watched", unit: "none", width: 6,
			describe: "Clients in shadow mode, and clients that have a protection switched off. Both are for a roll-out or an emergency: note why, and when it ends.",
			queries: []query{
				{over("sum", service, metric("shadow", ofService)), "{{surecall_service}} shadow"},
				{over("sum", service+", surecall_protection", metric("disabled", ofService)), "{{surecall_service}} {{surecall_protection}} off"},
			},
		},
		{
			title: "Policies refused", unit: "none", width: 6,
			describe: "Clients whose newest policy document is not applied because of an error in it: the last good one stands. The status page and an event name the error. Mend the document.",
			queries:  []query{{over("sum", service+", surecall_layer", metric("policy_refused", ofService)), "{{surecall_service}} {{surecall_layer}}"}},
		},
	}}
}

func each() row {
	by := "surecall_service, surecall_instance"
	legend := "{{surecall_instance}}"
	return row{title: "Each instance (series that clients have to be asked for)", closed: true, panels: []panel{
		{
			title: "Clients that may pick it", unit: "percentunit", share: true, width: 12,
			describe: "Share of the clients for which the instance may be picked. 0: something is wrong with the instance. In between: with the way from some clients to it.",
			queries:  []query{{over("avg", by, metric("instance_eligible", ofService)), legend}},
		},
		{
			title: "In flight on it", unit: "none", width: 12,
			describe: "Unary attempts in flight, of all clients. One far above the others: it is slow, and gets less for it.",
			queries:  []query{{over("sum", by, metric("instance_in_flight", ofService)), legend}},
		},
		{
			title: "Its latency", unit: "s", width: 12,
			describe: "The estimate that the choice goes by, of the client that sees it highest. It charges failures as latency. One instance above the others: its host, its zone, its garbage collector.",
			queries:  []query{{over("max", by, metric("instance_latency_seconds", ofService)), legend}},
		},
		{
			title: "Weight that counts", unit: "none", width: 12,
			describe: "Its registered weight, times what it gets of that: slow start, and less since it had too much to do. It rises for 30 s after a start.",
			queries:  []query{{over("avg", by, metric("instance_weight", ofService)+" * "+metric("instance_share", ofService)), legend}},
		},
	}}
}
