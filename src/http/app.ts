/** The routes as a Hono application: access, role, handler, and errors as problems. */
import type { HttpBindings } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import { includesRole, type Role } from '../api/api.ts';
import { MeshError } from '../base/errors.ts';
import type { Answers } from './answers.ts';
import { conflictRoutes } from './conflict-routes.ts';
import { eventRoutes } from './events/event-routes.ts';
import { fileRoutes } from './file-routes.ts';
import { jobRoutes } from './job-routes.ts';
import { nodeRoutes } from './node-routes.ts';
import type { Route, RouteParts } from './route.ts';
import { workerRoutes } from './worker-routes.ts';

interface Env {
  Bindings: HttpBindings;
  Variables: { role: Role };
}

export function createApp(parts: RouteParts): Hono<Env> {
  const { answers, options, access } = parts;
  const app = new Hono<Env>();
  app.use(async (context, next) => {
    context.set('role', await access.roleOf(context.env.incoming));
    await next();
  });
  const all = [nodeRoutes, jobRoutes, workerRoutes, eventRoutes, fileRoutes, conflictRoutes];
  const routes = all.flatMap((of) => of(parts));
  addRoutes(app, routes, answers);
  app.notFound(({ req }) =>
    answers.problem(
      new MeshError('NOT_FOUND', `There is nothing at ${req.path}. GET / lists what there is.`),
    ),
  );
  app.onError((fault, { req }) => {
    if (fault instanceof MeshError) return answers.problem(fault, headersOf(fault));
    options.onFault(fault, `${req.method} ${req.path}`);
    return answers.problem(
      new MeshError('INTERNAL', 'The node made a mistake; its log says more.'),
    );
  });
  return app;
}

function addRoutes(app: Hono<Env>, routes: readonly Route[], answers: Answers): void {
  for (const route of routes) {
    app.on(route.method, route.path, (context) => {
      refuseRole(context.get('role'), route);
      return route.handle(askedOf(context));
    });
  }
  for (const path of new Set(routes.map((route) => route.path))) {
    const methods = routes.filter((route) => route.path === path).map((route) => route.method);
    const allow = [...methods, ...(methods.includes('GET') ? ['HEAD'] : [])].join(', ');
    app.all(path, ({ req }) => {
      const reason = `${req.path} takes ${allow}, not ${req.method}.`;
      return answers.problem(new MeshError('METHOD_NOT_ALLOWED', reason), { Allow: allow });
    });
  }
}

/** What a refusal tells beside its sentence. */
const headersOf = (fault: MeshError): Readonly<Record<string, string>> =>
  'headers' in fault ? (fault.headers as Record<string, string>) : {};

function askedOf(context: Context<Env>): Parameters<Route['handle']>[0] {
  const { incoming, outgoing } = context.env;
  return {
    incoming,
    outgoing,
    url: incoming.url ?? '/',
    id: context.req.param('id') ?? '',
    rest: context.req.param('rest') ?? '',
  };
}

function refuseRole(given: Role, route: Route): void {
  if (includesRole(given, route.role)) return;
  throw new MeshError(
    'FORBIDDEN',
    `This needs a token of the role ${route.role}, and yours is for ${given}. Print one with \`mesh token --role ${route.role}\`.`,
  );
}
